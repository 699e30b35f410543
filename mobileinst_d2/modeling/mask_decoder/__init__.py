"""Mask decoders."""

from .build import (
    MASK_DECODER_REGISTRY,
    MaskDecoderOutput,
    build_mask_decoder,
    feature_channels,
)
from .fpn_ppm import FPNPPMMaskDecoder
from .semantic_enhanced import SemanticEnhancedMaskDecoder

__all__ = [
    "MASK_DECODER_REGISTRY",
    "FPNPPMMaskDecoder",
    "MaskDecoderOutput",
    "SemanticEnhancedMaskDecoder",
    "build_mask_decoder",
    "feature_channels",
]
