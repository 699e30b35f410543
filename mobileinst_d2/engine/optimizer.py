"""Optimizers and their parameter groups."""

import logging
from collections.abc import Callable
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import maybe_add_gradient_clipping, reduce_param_groups
from torch import nn

from mobileinst_core.errors import ConfigError

__all__ = ["build_optimizer", "parameter_groups"]

logger = logging.getLogger(__name__)

# The first is the common base of all batch and instance normalisations.
_NORM_TYPES = (
    nn.modules.batchnorm._NormBase,
    nn.GroupNorm,
    nn.LayerNorm,
    nn.RMSNorm,
    nn.LocalResponseNorm,
)


def _is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer, including those outside PyTorch's families."""
    return isinstance(module, _NORM_TYPES) or type(module).__name__.rstrip("123d").endswith("Norm")


def parameter_groups(
    model: nn.Module,
    *,
    base_lr: float,
    weight_decay: float,
    weight_decay_norm: float | None = 0.0,
    weight_decay_bias: float | None = None,
    weight_decay_embed: float | None = 0.0,
    bias_lr_factor: float = 1.0,
    backbone_multiplier: float = 1.0,
) -> list[dict[str, Any]]:
    """Sort the trainable parameters into groups, as few as possible.

    A shared parameter counts once, for the module that is met first.

    Args:
        model: the network; `model.backbone`, where it has one, gets its own learning rate.
        base_lr: learning rate.
        weight_decay: weight decay where no other value holds.
        weight_decay_norm: weight decay of normalisation layers, None = the same as elsewhere.
        weight_decay_bias: weight decay of parameters called "bias", normalisation layers
            included, None = no rule for them.
        weight_decay_embed: weight decay of ``nn.Embedding``, such as queries and their positions,
            None = the same as elsewhere.
        bias_lr_factor: factor on the learning rate of parameters called "bias".
        backbone_multiplier: factor on the learning rate of the backbone.

    Returns:
        Groups with "params", "lr" and "weight_decay", for a PyTorch optimizer.
    """
    backbone = getattr(model, "backbone", None)
    backbone_parameters = set() if backbone is None else set(backbone.parameters())
    groups, seen = [], set()
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            if not parameter.requires_grad or parameter in seen:
                continue
            seen.add(parameter)
            lr, decay = base_lr, weight_decay
            if parameter in backbone_parameters:
                lr *= backbone_multiplier
            if weight_decay_norm is not None and _is_norm(module):
                decay = weight_decay_norm
            if weight_decay_embed is not None and isinstance(module, nn.Embedding):
                decay = weight_decay_embed
            if name == "bias":
                lr *= bias_lr_factor
                decay = decay if weight_decay_bias is None else weight_decay_bias
            groups.append({"params": [parameter], "lr": lr, "weight_decay": decay})
    return reduce_param_groups(groups)


def _with_clipping(
    cfg: CfgNode, optimizer_type: type[torch.optim.Optimizer]
) -> type[torch.optim.Optimizer]:
    """Add the gradient clipping of SOLVER.CLIP_GRADIENTS to a class of optimizers.

    "value" and "norm" are Detectron2's and clip each parameter by itself. "full_model", which
    Detectron2 lacks, keeps the direction: it scales all gradients by one factor.
    """
    clip = cfg.SOLVER.CLIP_GRADIENTS
    if clip.CLIP_TYPE not in ("value", "norm", "full_model"):
        raise ConfigError(
            f"SOLVER.CLIP_GRADIENTS.CLIP_TYPE={clip.CLIP_TYPE!r} is unknown. "
            "Use value, norm or full_model."
        )
    if not clip.ENABLED or clip.CLIP_TYPE != "full_model":
        return maybe_add_gradient_clipping(cfg, optimizer_type)
    max_norm, norm_type = clip.CLIP_VALUE, clip.NORM_TYPE

    class FullModelClipping(optimizer_type):
        def step(self, closure: Callable[[], float] | None = None) -> float | None:
            parameters = [p for group in self.param_groups for p in group["params"]]
            nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
            return super().step(closure)

    return FullModelClipping


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """Build the optimizer that SOLVER.OPTIMIZER names, with the gradient clipping of SOLVER.

    Args:
        cfg: the config; reads SOLVER.
        model: the network, not yet wrapped for distributed training.

    Returns:
        The optimizer.

    Raises:
        ConfigError: if SOLVER.OPTIMIZER or the type of clipping is unknown, or nothing in the
            model is trainable.
    """
    solver = cfg.SOLVER
    name = solver.OPTIMIZER.upper()
    if name == "ADAMW":
        # On a CPU one call per parameter in place of ten. Not on a GPU: there it would leave the
        # loss scale of mixed precision in the gradients, and clipping would see it.
        on_cpu = all(parameter.device.type == "cpu" for parameter in model.parameters())
        optimizer_type, options = torch.optim.AdamW, {"fused": on_cpu or None}
    elif name == "SGD":
        optimizer_type = torch.optim.SGD
        options = {"momentum": solver.MOMENTUM, "nesterov": solver.NESTEROV}
    else:
        raise ConfigError(f"SOLVER.OPTIMIZER={solver.OPTIMIZER!r} is unknown. Use ADAMW or SGD.")
    groups = parameter_groups(
        model,
        base_lr=solver.BASE_LR,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        weight_decay_embed=solver.WEIGHT_DECAY_EMBED,
        bias_lr_factor=solver.BIAS_LR_FACTOR,
        backbone_multiplier=solver.BACKBONE_MULTIPLIER,
    )
    if not groups:
        raise ConfigError(f"{type(model).__name__} has no trainable parameter.")
    for group in groups:
        count = sum(parameter.numel() for parameter in group["params"])
        logger.info(
            "%s: %d parameters with lr=%g, weight_decay=%g",
            name,
            count,
            group["lr"],
            group["weight_decay"],
        )
    return _with_clipping(cfg, optimizer_type)(
        groups, lr=solver.BASE_LR, weight_decay=solver.WEIGHT_DECAY, **options
    )
