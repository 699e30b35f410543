"""Building blocks. They import PyTorch and Detectron2's layers; no config, no registry."""

from .attention import DecoderLayer, FeedForward, MultiHeadAttention, mlp
from .conv_norm import (
    BATCH_NORMS,
    NORMS,
    BatchNorm2d,
    ConvNorm,
    InvertedResidual,
    build_norm,
    conv3x3_norm,
    conv3x3_stack,
    init_conv,
    inverted_residuals,
    xavier_conv,
)
from .conv_transformer import ConvTransformer, DropPath, SemanticInjection, attend_by_head
from .deform_conv import DeformableConv2d
from .pooling import AveragePool, BinAveragePool, bilinear_resize
from .position import CoordinateChannels, ResizedPosition, SinePosition, sine_position
from .pyramid_pooling import PyramidPooling
from .size_constant import SizeConstant, fix_size_constants

__all__ = [
    "BATCH_NORMS",
    "NORMS",
    "AveragePool",
    "BatchNorm2d",
    "BinAveragePool",
    "ConvNorm",
    "ConvTransformer",
    "CoordinateChannels",
    "DecoderLayer",
    "DeformableConv2d",
    "DropPath",
    "FeedForward",
    "InvertedResidual",
    "MultiHeadAttention",
    "PyramidPooling",
    "ResizedPosition",
    "SemanticInjection",
    "SinePosition",
    "SizeConstant",
    "attend_by_head",
    "bilinear_resize",
    "build_norm",
    "conv3x3_norm",
    "conv3x3_stack",
    "fix_size_constants",
    "init_conv",
    "inverted_residuals",
    "mlp",
    "sine_position",
    "xavier_conv",
]
