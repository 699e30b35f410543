"""Mask decoders."""

from .build import (
    MASK_DECODER_REGISTRY,
    MaskDecoderOutput,
    build_mask_decoder,
    feature_channels,
)
from .feature_pyramid import FeaturePyramid
from .fpn_ppm import FPNPPMMaskDecoder, InstanceContextEncoder
from .ppm_fpn import PPMFPN
from .protonet import NUM_PROTOTYPES, Protonet
from .semantic_enhanced import MaskBranch, SemanticEnhancedMaskDecoder

__all__ = [
    "MASK_DECODER_REGISTRY",
    "NUM_PROTOTYPES",
    "PPMFPN",
    "FPNPPMMaskDecoder",
    "FeaturePyramid",
    "InstanceContextEncoder",
    "MaskBranch",
    "MaskDecoderOutput",
    "Protonet",
    "SemanticEnhancedMaskDecoder",
    "build_mask_decoder",
    "feature_channels",
]
