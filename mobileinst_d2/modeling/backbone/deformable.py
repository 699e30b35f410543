"""Deformable convolutions in a ResNet."""

from collections.abc import Sequence

from torch import nn

from ..layers import DeformableConv2d
from .timm import TimmBackbone

__all__ = ["deform_stages"]


def deform_stages(backbone: nn.Module, stages: Sequence[int]) -> None:
    """Make the 3x3 convolutions of all bottlenecks of some stages deformable, in place.

    Args:
        backbone: a ResNet of bottlenecks, Detectron2's or timm's in :class:`TimmBackbone`.
        stages: numbers of the stages, 2 to 5: res2 to res5.

    Raises:
        ValueError: if the backbone has no such stage, or its blocks are no bottlenecks.
    """
    for number in stages:
        # timm's layer1 is res2.
        network, name = (
            (backbone.network, f"layer{number - 1}")
            if isinstance(backbone, TimmBackbone)
            else (backbone, f"res{number}")
        )
        stage = getattr(network, name, ())
        if not stage or not all(isinstance(getattr(x, "conv3", None), nn.Conv2d) for x in stage):
            raise ValueError(
                f"MODEL.BACKBONE.DEFORMABLE_STAGES has {number}: {type(backbone).__name__} has no "
                "such stage of bottlenecks; a ResNet-50 has 2 to 5"
            )
        for block in stage:
            block.conv2 = DeformableConv2d(block.conv2)
