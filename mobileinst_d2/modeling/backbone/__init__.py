"""Mobile backbones, registered in Detectron2's ``BACKBONE_REGISTRY``."""

from .topformer import TOPFORMER_VARIANTS, TopFormer

__all__ = ["TOPFORMER_VARIANTS", "TopFormer"]
