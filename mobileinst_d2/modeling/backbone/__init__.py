"""Mobile backbones, registered in Detectron2's ``BACKBONE_REGISTRY``."""

from .build import build_feature_backbone
from .fpn import MobileFPN
from .seaformer import SEAFORMER_VARIANTS, SeaFormer
from .timm import TimmBackbone
from .topformer import TOPFORMER_VARIANTS, TopFormer

__all__ = [
    "SEAFORMER_VARIANTS",
    "TOPFORMER_VARIANTS",
    "MobileFPN",
    "SeaFormer",
    "TimmBackbone",
    "TopFormer",
    "build_feature_backbone",
]
