"""Instance decoders."""

from .activation_queries import ActivationQueries, QueryProposals
from .anchor_head import AnchorHead, AnchorPredictions
from .dual_path import DecoderState, DualPathDecoder, DualPathOutput, HeadPredictions
from .dual_transformer import DualTransformerInstanceDecoder, InstancePredictions
from .iam import IAMDecoder, IAMPredictions

__all__ = [
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
]
