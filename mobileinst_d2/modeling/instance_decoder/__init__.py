"""Instance decoders."""

from .activation_queries import ActivationQueries, QueryProposals
from .anchor_head import AnchorHead, AnchorPredictions
from .build import INSTANCE_DECODER_REGISTRY, InstancePredictions, build_instance_decoder
from .dual_path import DecoderState, DualPathDecoder, DualPathOutput, HeadPredictions
from .dual_transformer import DualTransformerInstanceDecoder
from .iam import IAMDecoder, IAMPredictions

__all__ = [
    "INSTANCE_DECODER_REGISTRY",
    "ActivationQueries",
    "AnchorHead",
    "AnchorPredictions",
    "DecoderState",
    "DualPathDecoder",
    "DualPathOutput",
    "DualTransformerInstanceDecoder",
    "HeadPredictions",
    "IAMDecoder",
    "IAMPredictions",
    "InstancePredictions",
    "QueryProposals",
    "build_instance_decoder",
]
