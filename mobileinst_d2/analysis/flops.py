"""Multiply-accumulates and parameters of a model, by module.

The counting rule is fvcore's, which reproduces the paper's tables: one multiply-accumulate is one
FLOP; batch normalisation in evaluation costs 2 per element, layer norm 5, a bilinear resize 4 per
output element, pooling 1 per input element; activations and element-wise operations are free.
"""

import logging
import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

from ..modeling import InstanceSegmentor

__all__ = ["ModelCost", "count_macs", "measure_cost"]

# Parts of the network, as they are in a breakdown; everything deeper is added up.
_BREAKDOWN_DEPTH = 2


class ModelCost(NamedTuple):
    """What a model costs for one input.

    Attributes:
        macs: multiply-accumulates of the network, without post-processing.
        params: number of parameters.
        by_module: (name, macs, params) of each part, in the order of the model.
    """

    macs: int
    params: int
    by_module: list[tuple[str, int, int]]


class _Network(nn.Module):
    """From images to outputs, with upsampled mask logits, in the form that tracing takes."""

    def __init__(self, model: InstanceSegmentor) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        outputs = dict(self.model.forward_inference(images))
        if "mask_logits" in outputs:
            outputs["mask_logits"] = self.model.upsample_mask_logits(outputs["mask_logits"])
        return tuple(outputs.values())


def _count_fused_attention(inputs: list, outputs: list) -> int:
    """Cost of ``scaled_dot_product_attention``, which fvcore counts as nothing by itself."""
    query, key, value = (x.type().sizes() for x in inputs[:3])  # ..., n, d; ..., m, d; ..., m, e
    return math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def measure_cost(model: InstanceSegmentor, size: tuple[int, int]) -> ModelCost:
    """Count one forward pass of a meta-architecture, with masks at the finest logits' resolution.

    Args:
        model: the model, which is put into evaluation mode for the count.
        size: (H, W) of the padded input.
    """
    was_training = model.training
    model.eval()
    try:
        device = next(model.parameters()).device
        macs = _analyse(_Network(model), (torch.zeros(1, 3, *size, device=device),))
    finally:
        model.train(was_training)
    parts = []
    for name, module in model.named_modules():
        # a name "" is the model itself
        depth = name.count(".") + 1
        is_leaf_part = depth == _BREAKDOWN_DEPTH or (depth == 1 and not list(module.children()))
        params = _count_parameters(module)
        cost = int(macs[f"model.{name}"])
        if name and is_leaf_part and (cost or params):
            parts.append((name, cost, params))
    rest = int(macs[""]) - sum(part[1] for part in parts)
    parts.append(("mask product, resizes", rest, 0))
    return ModelCost(int(macs[""]), _count_parameters(model), parts)


def count_macs(module: nn.Module, inputs: Sequence[torch.Tensor]) -> int:
    """Multiply-accumulates of one call of a module, in evaluation mode, with these arguments."""
    return int(_analyse(module, tuple(inputs))[""])


def _analyse(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> Counter[str]:
    """Multiply-accumulates by the name of the submodule; "" is the module itself."""
    # fvcore reports free operations as unsupported, and submodules that never run.
    logger = logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        analysis = FlopCountAnalysis(module, inputs)
        analysis.set_op_handle("aten::scaled_dot_product_attention", _count_fused_attention)
        macs = analysis.by_module()
    finally:
        logger.setLevel(level)
    for name, layer in module.named_modules():
        # A layer may do more than what it stands for, and says how much.
        excess = macs[name] - macs[name] // getattr(layer, "products_per_input", 1)
        path = name.split(".")
        for parent in ("", *(".".join(path[:depth]) for depth in range(1, len(path) + 1))):
            macs[parent] -= excess
    return macs


def _count_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())
