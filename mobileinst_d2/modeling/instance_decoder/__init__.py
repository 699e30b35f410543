"""Instance decoders."""

from .build import INSTANCE_DECODER_REGISTRY, InstancePredictions, build_instance_decoder
from .dual_transformer import DualTransformerInstanceDecoder
from .iam import IAMDecoder, IAMPredictions

__all__ = [
    "INSTANCE_DECODER_REGISTRY",
    "DualTransformerInstanceDecoder",
    "IAMDecoder",
    "IAMPredictions",
    "InstancePredictions",
    "build_instance_decoder",
]
