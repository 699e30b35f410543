"""Registry of instance decoders and what they return."""

from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import nn

from mobileinst_core.options import check_option

__all__ = ["INSTANCE_DECODER_REGISTRY", "InstancePredictions", "build_instance_decoder"]

INSTANCE_DECODER_REGISTRY = Registry("INSTANCE_DECODER")
INSTANCE_DECODER_REGISTRY.__doc__ = """
Instance decoders: modules from mask features and a global feature to instances.

A registered class is called with ``(cfg, input_shape)`` and has
``forward(mask_output: MaskDecoderOutput, x_global: Tensor) -> InstancePredictions``.
"""


class InstancePredictions(NamedTuple):
    """What an instance decoder gives for N queries of each image of a batch.

    Attributes:
        class_logits: (B, N, K), independent (sigmoid) logits.
        objectness_logits: (B, N), logits of the predicted mask quality.
        kernels: (B, N, D), the weights of the masks.
        queries: (B, N, C), the final query embeddings.
        passing_queries: (B, N, C), what another frame can be decoded from (paper, section 3.5).
    """

    class_logits: torch.Tensor
    objectness_logits: torch.Tensor
    kernels: torch.Tensor
    queries: torch.Tensor
    passing_queries: torch.Tensor


def build_instance_decoder(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Build the one that ``cfg.MODEL.MOBILEINST`` names, for a backbone's ``input_shape``."""
    name = cfg.MODEL.MOBILEINST.INSTANCE_DECODER.NAME
    check_option("MODEL.MOBILEINST.INSTANCE_DECODER.NAME", name, dict(INSTANCE_DECODER_REGISTRY))
    return INSTANCE_DECODER_REGISTRY.get(name)(cfg, input_shape)
