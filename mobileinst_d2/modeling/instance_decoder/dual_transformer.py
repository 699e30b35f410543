"""MobileInst's dual transformer instance decoder (paper, section 3.4)."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import nn

from mobileinst_core.options import check_option

from ..layers import ConvNorm, DecoderLayer, FeedForward, SinePosition, mlp
from ..mask_decoder import MaskDecoderOutput, feature_channels

__all__ = ["DualTransformerInstanceDecoder", "InstancePredictions"]

_LAYER_KINDS = ("global", "local")
_POOLS = ("max", "avg", "none")
# Inputs have at least 64 pixels per side, X_mask is at 1/8.
_MAX_POOL_SIZE = 8
# Standard deviations at the start of training; docs/deviations.md has the measurements.
_CLASS_LOGIT_STD = 0.58
_MASK_LOGIT_STD = 0.5


class InstancePredictions(NamedTuple):
    """What the decoder gives for N queries of each image of a batch.

    Attributes:
        class_logits: (B, N, K), independent (sigmoid) logits.
        objectness_logits: (B, N), logits of the predicted mask quality.
        kernels: (B, N, D), the weights of the masks.
        queries: (B, N, C), the final query embeddings.
        passing_queries: (B, N, C), what another frame can be decoded from (paper, section 3.5).
    """

    class_logits: torch.Tensor
    objectness_logits: torch.Tensor
    kernels: torch.Tensor
    queries: torch.Tensor
    passing_queries: torch.Tensor


class DualTransformerInstanceDecoder(nn.Module):
    """Queries that read the global feature first, then pooled local mask features."""

    @configurable
    def __init__(
        self,
        *,
        global_channels: int,
        num_classes: int,
        num_queries: int = 100,
        hidden_dim: int = 256,
        num_heads: int = 8,
        layers: Sequence[str] = ("global", "local"),
        local_pool: str = "max",
        local_pool_size: int = 8,
        ffn_dim: int = 1024,
        kernel_dim: int = 128,
        kernel_mlp_layers: int = 1,
        prior_prob: float = 0.01,
        norm: str = "BN",
    ) -> None:
        """Build the decoder.

        Args:
            global_channels: channels of the global feature.
            num_classes: number of classes K.
            num_queries: number of queries N.
            hidden_dim: width C of queries and tokens; X_mask has as many channels.
            num_heads: attention heads.
            layers: "global" or "local" for each decoder layer, in order.
            local_pool: "max", "avg" or "none", from X_mask to the local tokens.
            local_pool_size: window and stride of the pooling.
            ffn_dim: width of the feed-forward network after the layers; 0 = none.
            kernel_dim: width D of a kernel.
            kernel_mlp_layers: linear layers of the kernel head.
            prior_prob: class probability at the start of training.
            norm: normalisation of the projection of the global feature.

        Raises:
            ValueError: if an option is unknown or a count is not positive.
        """
        super().__init__()
        for kind in layers:
            check_option("an entry of layers", kind, _LAYER_KINDS)
        check_option("local_pool", local_pool, _POOLS)
        if not layers:
            raise ValueError("layers is empty, name at least one")
        for what, number in (
            ("num_queries", num_queries),
            ("kernel_mlp_layers", kernel_mlp_layers),
        ):
            if number < 1:
                raise ValueError(f"{what} is {number}, at least 1")
        if local_pool != "none" and not 1 <= local_pool_size <= _MAX_POOL_SIZE:
            raise ValueError(
                f"local_pool_size is {local_pool_size}, choose 1 to {_MAX_POOL_SIZE}: larger "
                "windows leave nothing of the smallest input"
            )
        self.layer_kinds = list(layers)
        self.local_pool = local_pool
        self.local_pool_size = local_pool_size

        self.num_queries = num_queries
        self.queries = nn.Embedding(num_queries, hidden_dim)
        self.query_position = nn.Embedding(num_queries, hidden_dim)
        self.global_projection = (
            ConvNorm(global_channels, hidden_dim, norm=norm) if "global" in layers else None
        )
        self.positions = nn.ModuleDict({f"{kind}_map": SinePosition() for kind in layers})
        self.layers = nn.ModuleList(DecoderLayer(hidden_dim, num_heads) for _ in layers)
        self.ffn = FeedForward(hidden_dim, ffn_dim) if ffn_dim else None
        self.class_head = nn.Linear(hidden_dim, num_classes)
        self.objectness_head = nn.Linear(hidden_dim, 1)
        self.kernel_head = mlp(*[hidden_dim] * kernel_mlp_layers, kernel_dim)
        self._init_heads(prior_prob)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """Keyword arguments from ``cfg.MODEL.MOBILEINST``."""
        model = cfg.MODEL.MOBILEINST
        node = model.INSTANCE_DECODER
        return {
            "global_channels": feature_channels(input_shape, model.BACKBONE_FEATURES)[-1],
            "num_classes": cfg.MODEL.NUM_CLASSES,
            "num_queries": node.NUM_QUERIES,
            "hidden_dim": model.HIDDEN_DIM,
            "num_heads": node.NUM_HEADS,
            "layers": node.LAYERS,
            "local_pool": node.LOCAL_POOL,
            "local_pool_size": node.LOCAL_POOL_SIZE,
            "ffn_dim": node.FFN_DIM,
            "kernel_dim": model.KERNEL_DIM,
            "kernel_mlp_layers": node.KERNEL_MLP_LAYERS,
            "norm": model.NORM,
        }

    def _init_heads(self, prior_prob: float) -> None:
        """Start the heads at the same scale of logits for every width.

        Decoded queries end with a layer norm, so their entries have a variance of 1; the mask
        features have a second moment of about 0.5, see :class:`MaskBranch`.
        """
        width, kernel_dim = self.class_head.in_features, self.kernel_head[-1].out_features
        nn.init.normal_(self.class_head.weight, std=_CLASS_LOGIT_STD / math.sqrt(width))
        # Every class starts at prior_prob, as focal loss wants it.
        nn.init.constant_(self.class_head.bias, -math.log((1 - prior_prob) / prior_prob))
        nn.init.normal_(self.objectness_head.weight, std=0.01)
        *hidden, last = (x for x in self.kernel_head if isinstance(x, nn.Linear))
        for layer in hidden:
            # Keeps the scale: only the last layer starts small, a product of small ones is dead.
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        nn.init.normal_(last.weight, std=_MASK_LOGIT_STD / math.sqrt(0.5 * width * kernel_dim))
        for layer in (self.objectness_head, *hidden, last):
            nn.init.zeros_(layer.bias)

    def forward(
        self, mask_output: MaskDecoderOutput, x_global: torch.Tensor
    ) -> InstancePredictions:
        """Decode instances.

        Args:
            mask_output: the mask decoder's result, maps (B, C, H/8, W/8).
            x_global: (B, global_channels, H/64, W/64).

        Returns:
            The predictions of N queries per image.
        """
        memories = self._memories(mask_output, x_global, set(self.layer_kinds))
        queries = self.queries.weight.expand(x_global.shape[0], -1, -1)
        passing = queries
        for kind, layer in zip(self.layer_kinds, self.layers, strict=True):
            passing = queries  # what enters the last layer
            queries = self._attend(layer, queries, memories[kind])
        return self._predict(queries, passing)

    def decode_passed(
        self, passed: torch.Tensor, mask_output: MaskDecoderOutput, x_global: torch.Tensor
    ) -> InstancePredictions:
        """Decode a frame from the queries of another one (paper, section 3.5).

        The passed queries take the place of this frame's own in front of the last layer: with the
        layers (global, local), the output of the global decoder.

        Args:
            passed: (B, N, C), ``passing_queries`` of the other frames.
            mask_output: the mask decoder's result for this frame.
            x_global: the global feature of this frame.

        Returns:
            The predictions, row by row those of the passed queries.

        Raises:
            ValueError: if there is only one layer, so that nothing has been decoded to pass on.
        """
        if len(self.layers) < 2:
            raise ValueError(
                f"query passing needs two layers or more, and there is {self.layer_kinds}; or set "
                "MODEL.MOBILEINST.QUERY_PASSING none"
            )
        kind = self.layer_kinds[-1]
        memories = self._memories(mask_output, x_global, {kind})
        return self._predict(self._attend(self.layers[-1], passed, memories[kind]), passed)

    def _memories(
        self, mask_output: MaskDecoderOutput, x_global: torch.Tensor, kinds: set[str]
    ) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
        """Tokens (B, M, C) and positions (M, C) of each kind of layer."""
        maps = {}
        if "global" in kinds:
            maps["global"] = self.global_projection(x_global)
        if "local" in kinds:
            x = mask_output.x_mask
            if self.local_pool == "max":
                x = F.max_pool2d(x, self.local_pool_size, stride=self.local_pool_size)
            elif self.local_pool == "avg":
                x = F.avg_pool2d(x, self.local_pool_size, stride=self.local_pool_size)
            maps["local"] = x
        return {
            kind: (x.flatten(2).transpose(1, 2), self.positions[f"{kind}_map"](x))
            for kind, x in maps.items()
        }

    def _attend(
        self, layer: nn.Module, queries: torch.Tensor, memory: tuple[torch.Tensor, torch.Tensor]
    ) -> torch.Tensor:
        return layer(queries, self.query_position.weight, *memory)

    def _predict(self, queries: torch.Tensor, passing: torch.Tensor) -> InstancePredictions:
        if self.ffn is not None:
            queries = self.ffn(queries)
        return InstancePredictions(
            class_logits=self.class_head(queries),
            objectness_logits=self.objectness_head(queries).squeeze(2),
            kernels=self.kernel_head(queries),
            queries=queries,
            passing_queries=passing,
        )
