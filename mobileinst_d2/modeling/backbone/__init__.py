"""Mobile backbones, registered in Detectron2's ``BACKBONE_REGISTRY``."""

from .mobilenetv2 import MobileNetV2
from .topformer import TOPFORMER_VARIANTS, TopFormer

__all__ = ["TOPFORMER_VARIANTS", "MobileNetV2", "TopFormer"]
