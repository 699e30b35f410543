"""Mask decoders."""

from .build import (
    MASK_DECODER_REGISTRY,
    MaskDecoderOutput,
    build_mask_decoder,
    feature_channels,
)
from .fpn_ppm import FPNPPMMaskDecoder
from .instance_context import InstanceContextEncoder
from .mask_branch import MaskBranch
from .ppm_fpn import PPMFPN
from .semantic_enhanced import SemanticEnhancedMaskDecoder

__all__ = [
    "MASK_DECODER_REGISTRY",
    "PPMFPN",
    "FPNPPMMaskDecoder",
    "InstanceContextEncoder",
    "MaskBranch",
    "MaskDecoderOutput",
    "SemanticEnhancedMaskDecoder",
    "build_mask_decoder",
    "feature_channels",
]
