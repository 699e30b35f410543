"""Backbones for systems that take three maps, at strides 8, 16 and 32."""

from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, Backbone, build_backbone
from torch import nn

from ..layers import DeformableConv2d
from .base import FEATURE_STRIDES, MobileBackbone
from .timm import TimmBackbone

__all__ = ["build_feature_backbone"]

_STRIDES = (8, 16, 32)


def build_feature_backbone(cfg: CfgNode) -> tuple[Backbone, list[str]]:
    """Build the backbone of a config with no more outputs than are used.

    A mobile backbone is built without the layers of other outputs. Detectron2's own, such as
    ``build_resnet_backbone``, give what ``MODEL.RESNETS.OUT_FEATURES`` says. A ResNet can have
    ``MODEL.BACKBONE.DEFORMABLE_STAGES``.

    Returns:
        The backbone, and the names of the maps, fine to coarse.

    Raises:
        ValueError: if the backbone does not give one map at each stride.
    """
    kind = BACKBONE_REGISTRY.get(cfg.MODEL.BACKBONE.NAME)
    if isinstance(kind, type) and issubclass(kind, MobileBackbone):
        names = [name for name, stride in FEATURE_STRIDES.items() if stride in _STRIDES]
        backbone = kind(cfg, ShapeSpec(channels=len(cfg.MODEL.PIXEL_MEAN)), out_features=names)
        _deform_stages(backbone, cfg.MODEL.BACKBONE.DEFORMABLE_STAGES)
        return backbone, names
    backbone = build_backbone(cfg)
    _deform_stages(backbone, cfg.MODEL.BACKBONE.DEFORMABLE_STAGES)
    shapes = backbone.output_shape()
    names = [name for s in _STRIDES for name, x in shapes.items() if x.stride == s]
    if [shapes[name].stride for name in names] != list(_STRIDES):
        strides = ", ".join(f"{name} at {x.stride}" for name, x in shapes.items())
        raise ValueError(
            f"{cfg.MODEL.BACKBONE.NAME} gives {strides}; one map at each of the strides 8, 16 "
            "and 32 is needed (of a ResNet: MODEL.RESNETS.OUT_FEATURES [res3, res4, res5])"
        )
    return backbone, names


def _deform_stages(backbone: nn.Module, stages: Sequence[int]) -> None:
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
