"""Building blocks. They know PyTorch and Detectron2's layers; no config, no registry."""

from .attention import MultiHeadAttention
from .conv_bn import ConvBN, ConvNorm, InvertedResidual, inverted_residuals
from .conv_transformer import ConvTransformer, attend_by_head
from .drop_path import DropPath
from .folded_norm import folded_norms, refit_norms
from .norm import BATCH_NORMS, NORMS, BatchNorm2d, build_norm
from .position import coordinate_channels, sine_position
from .resize import bilinear_resize
from .semantic_injection import INJECTION_GATES, SemanticInjection

__all__ = [
    "BATCH_NORMS",
    "INJECTION_GATES",
    "NORMS",
    "BatchNorm2d",
    "ConvBN",
    "ConvNorm",
    "ConvTransformer",
    "DropPath",
    "InvertedResidual",
    "MultiHeadAttention",
    "SemanticInjection",
    "attend_by_head",
    "bilinear_resize",
    "build_norm",
    "coordinate_channels",
    "folded_norms",
    "inverted_residuals",
    "refit_norms",
    "sine_position",
]
