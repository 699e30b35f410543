"""Instance decoders."""

from .build import INSTANCE_DECODER_REGISTRY, InstancePredictions, build_instance_decoder
from .dual_transformer import DualTransformerInstanceDecoder

__all__ = [
    "INSTANCE_DECODER_REGISTRY",
    "DualTransformerInstanceDecoder",
    "InstancePredictions",
    "build_instance_decoder",
]
