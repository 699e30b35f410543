"""Mobile backbones, registered in Detectron2's ``BACKBONE_REGISTRY``."""

from .fpn import MobileFPN, build_mobile_fpn_backbone
from .mobilenetv2 import MobileNetV2
from .mobilenetv4 import MobileNetV4
from .seaformer import SEAFORMER_VARIANTS, SeaFormer
from .topformer import TOPFORMER_VARIANTS, TopFormer

__all__ = [
    "SEAFORMER_VARIANTS",
    "TOPFORMER_VARIANTS",
    "MobileFPN",
    "MobileNetV2",
    "MobileNetV4",
    "SeaFormer",
    "TopFormer",
    "build_mobile_fpn_backbone",
]
