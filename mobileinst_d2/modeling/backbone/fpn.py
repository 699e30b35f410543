"""Feature pyramid on a mobile backbone, for Detectron2's own detectors."""

import math

from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY, FPN
from detectron2.modeling.backbone.fpn import LastLevelMaxPool

from mobileinst_core.options import check_option

from .base import FEATURE_STRIDES, MobileBackbone
from .seaformer import SeaFormer
from .timm import TimmBackbone
from .topformer import TopFormer

__all__ = ["MobileFPN"]


class MobileFPN(FPN):
    """Detectron2's FPN on a mobile backbone, with one level more on top by subsampling.

    Of x3 to x6 it makes p3 to p7, at strides 8 to 128.
    """

    @property
    def size_divisibility(self) -> int:
        """That of the backbone: a pyramid without its coarsest map would ask for less."""
        return self.bottom_up.size_divisibility


@BACKBONE_REGISTRY.register()
def build_topformer_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> MobileFPN:
    """The pyramid of ``MODEL.FPN`` on TopFormer; ValueError where IN_FEATURES are wrong."""
    return _build_fpn(TopFormer, cfg, input_shape)


@BACKBONE_REGISTRY.register()
def build_seaformer_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> MobileFPN:
    """The pyramid of ``MODEL.FPN`` on SeaFormer; ValueError where IN_FEATURES are wrong."""
    return _build_fpn(SeaFormer, cfg, input_shape)


@BACKBONE_REGISTRY.register()
def build_timm_fpn_backbone(cfg: CfgNode, input_shape: ShapeSpec) -> MobileFPN:
    """The pyramid of ``MODEL.FPN`` on a network of timm; ValueError as on the others."""
    return _build_fpn(TimmBackbone, cfg, input_shape)


def _build_fpn(kind: type[MobileBackbone], cfg: CfgNode, input_shape: ShapeSpec) -> MobileFPN:
    in_features = cfg.MODEL.FPN.IN_FEATURES
    if not in_features:
        raise ValueError(
            f"MODEL.FPN.IN_FEATURES is empty; {kind.__name__} gives {list(FEATURE_STRIDES)}"
        )
    for feature in in_features:
        check_option("an entry of MODEL.FPN.IN_FEATURES", feature, FEATURE_STRIDES)
    bottom_up = kind(cfg, input_shape, out_features=in_features)
    shapes = bottom_up.output_shape()
    top_block = LastLevelMaxPool()
    top_block.in_feature = f"p{int(math.log2(shapes[in_features[-1]].stride))}"
    return MobileFPN(
        bottom_up,
        in_features,
        cfg.MODEL.FPN.OUT_CHANNELS,
        norm=cfg.MODEL.FPN.NORM,
        top_block=top_block,
        fuse_type=cfg.MODEL.FPN.FUSE_TYPE,
    )
