"""Mobile backbones, registered in Detectron2's ``BACKBONE_REGISTRY``."""

from .mobilenetv2 import MobileNetV2
from .seaformer import SEAFORMER_VARIANTS, SeaFormer
from .topformer import TOPFORMER_VARIANTS, TopFormer

__all__ = ["SEAFORMER_VARIANTS", "TOPFORMER_VARIANTS", "MobileNetV2", "SeaFormer", "TopFormer"]
