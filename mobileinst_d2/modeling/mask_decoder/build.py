"""Registry of mask decoders and what they return."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.utils.registry import Registry
from torch import nn

from mobileinst_core.options import check_option

__all__ = [
    "MASK_DECODER_REGISTRY",
    "MaskDecoderOutput",
    "build_mask_decoder",
    "feature_channels",
    "separable_levels",
]

MASK_DECODER_REGISTRY = Registry("MASK_DECODER")
MASK_DECODER_REGISTRY.__doc__ = """
Mask decoders: modules from backbone features to mask features at stride 8.

A registered class is called with ``(cfg, input_shape)`` and has
``forward(features: dict[str, Tensor]) -> MaskDecoderOutput``.
"""


class MaskDecoderOutput(NamedTuple):
    """What a mask decoder gives for a batch, all at stride 8.

    Attributes:
        fused: (B, C, H/8, W/8), the fused pyramid before the mask convolutions.
        x_mask: (B, C, H/8, W/8), the paper's X_mask.
        mask_features: (B, D, H/8, W/8), what the kernels multiply; X_mask projected to the
            width of a kernel, or X_mask itself.
    """

    fused: torch.Tensor
    x_mask: torch.Tensor
    mask_features: torch.Tensor


def build_mask_decoder(cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> nn.Module:
    """Build the one that ``cfg.MODEL.MOBILEINST`` names, for a backbone's ``input_shape``."""
    name = cfg.MODEL.MOBILEINST.MASK_DECODER.NAME
    check_option("MODEL.MOBILEINST.MASK_DECODER.NAME", name, dict(MASK_DECODER_REGISTRY))
    return MASK_DECODER_REGISTRY.get(name)(cfg, input_shape)


def feature_channels(input_shape: dict[str, ShapeSpec], names: Sequence[str]) -> list[int]:
    """Channels of the features that a mask decoder reads, in the order of their names.

    Raises:
        ValueError: if the backbone, whose outputs are ``input_shape``, lacks one.
    """
    missing = set(names) - set(input_shape)
    if missing:
        raise ValueError(
            f"the features {sorted(missing)} are needed, the backbone gives {sorted(input_shape)}"
        )
    return [input_shape[name].channels for name in names]


def separable_levels(
    input_shape: dict[str, ShapeSpec], names: Sequence[str], strides: Sequence[int]
) -> list[int]:
    """Levels of the pyramid whose 3x3 convolutions are to be depthwise-separable.

    Args:
        input_shape: outputs of the backbone.
        names: the features of the pyramid, fine to coarse.
        strides: strides of the wanted levels.

    Returns:
        The positions of the levels in ``names``.

    Raises:
        ValueError: if no level has one of the strides.
    """
    present = [input_shape[name].stride for name in names]
    for stride in strides:
        check_option("an entry of separable_strides", stride, present)
    return [level for level, stride in enumerate(present) if stride in strides]
