"""Networks and their losses."""

from .backbone import SeaFormer, TimmBackbone, TopFormer
from .mask_decoder import MASK_DECODER_REGISTRY, build_mask_decoder
from .meta_arch import YOLACT, FastInst, InstanceSegmentor, MobileInst, SparseInst, VideoSegmentor

__all__ = [
    "MASK_DECODER_REGISTRY",
    "YOLACT",
    "FastInst",
    "InstanceSegmentor",
    "MobileInst",
    "SeaFormer",
    "SparseInst",
    "TimmBackbone",
    "TopFormer",
    "VideoSegmentor",
    "build_mask_decoder",
]
