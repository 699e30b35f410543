"""FastInst's dual-path decoder (section 3.4), which also is that of a light Mask2Former."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from mobileinst_core.options import check_option

from ..layers import (
    DecoderLayer,
    FeedForward,
    MultiHeadAttention,
    ResizedPosition,
    mask_product,
    mlp,
)
from .activation_queries import ActivationQueries, QueryProposals

__all__ = ["DecoderState", "DualPathDecoder", "DualPathOutput", "HeadPredictions"]

_QUERIES = ("activation", "learned")
# Added to attention logits where a query shall not look; half precision holds it, too.
_MASKED = -1e4
# Makes a step of a limited slope: any logit below 0 becomes less than -1.
_STEEP = 1e30


class HeadPredictions(NamedTuple):
    """What one head gives for the N queries of each image.

    Attributes:
        class_logits: (B, N, K + 1), for a softmax; the last class is "no object". None in
            evaluation, but for the last head.
        kernels: (B, N, C), the mask embeddings.
        mask_features: (B, C, h, w), what the kernels multiply.
    """

    class_logits: torch.Tensor | None
    kernels: torch.Tensor
    mask_features: torch.Tensor

    @property
    def mask_logits(self) -> torch.Tensor:
        """(B, N, h, w)."""
        return mask_product(self.kernels, self.mask_features)


class DecoderState(NamedTuple):
    """Queries and pixels between two layers.

    Attributes:
        queries: (B, N + A, C), the auxiliary queries last.
        query_position: their positions.
        pixels: (B, h * w, C), row by row.
        pixel_position: (h * w, C).
        size: (h, w).
    """

    queries: torch.Tensor
    query_position: torch.Tensor
    pixels: torch.Tensor
    pixel_position: torch.Tensor
    size: tuple[int, int]


class DualPathOutput(NamedTuple):
    """What a decoder of D layers gives.

    Attributes:
        predictions: D + 1, before the first layer and after each.
        states: D + 1, where the predictions come from.
        proposals: of the queries; None if they are learned.
    """

    predictions: list[HeadPredictions]
    states: list[DecoderState]
    proposals: QueryProposals | None


class DualPathLayer(nn.Module):
    """Pixels read from the queries, then the queries from the pixels and from each other."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int, *, dual_path: bool) -> None:
        super().__init__()
        self.pixel_attention = MultiHeadAttention(dim, num_heads) if dual_path else None
        self.pixel_norm = nn.LayerNorm(dim) if dual_path else None
        self.pixel_ffn = FeedForward(dim, ffn_dim) if dual_path else None
        self.query_layer = DecoderLayer(dim, num_heads)
        self.query_ffn = FeedForward(dim, ffn_dim)

    def forward(self, state: DecoderState, bias: torch.Tensor) -> DecoderState:
        """Update both paths; ``bias`` is that of the queries' attention to the pixels."""
        queries, query_position, pixels, pixel_position, _ = state
        if self.pixel_attention is not None:
            read = self.pixel_attention(pixels + pixel_position, queries + query_position, queries)
            pixels = self.pixel_ffn(self.pixel_norm(pixels + read))
        queries = self.query_layer(queries, query_position, pixels, pixel_position, bias)
        return state._replace(queries=self.query_ffn(queries), pixels=pixels)


class PredictionHead(nn.Module):
    """Classes, mask embeddings and mask features of a decoder state."""

    def __init__(self, dim: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.class_head = mlp(dim, dim, dim, num_classes + 1)
        self.mask_head = mlp(dim, dim, dim, dim)
        self.mask_features = nn.Linear(dim, dim)

    def forward(
        self, state: DecoderState, num_queries: int, *, with_classes: bool = True
    ) -> HeadPredictions:
        """Predict of the first ``num_queries``; the others are auxiliary."""
        queries = self.norm(state.queries[:, :num_queries])
        features = self.mask_features(state.pixels).transpose(1, 2)
        return HeadPredictions(
            self.class_head(queries) if with_classes else None,
            self.mask_head(queries),
            features.unflatten(2, state.size),
        )


class DualPathDecoder(nn.Module):
    """Decoder layers on queries and pixels, with masks predicted before each and after the last.

    Each mask says where its query looks in the layer that follows (masked attention).
    """

    def __init__(
        self,
        *,
        num_classes: int,
        queries: str = "activation",
        dual_path: bool = True,
        num_queries: int = 100,
        num_aux_queries: int = 8,
        num_layers: int = 3,
        dim: int = 256,
        num_heads: int = 8,
        ffn_dim: int = 1024,
        position_size: int = 10,
    ) -> None:
        """Build the decoder.

        Args:
            num_classes: number of classes K.
            queries: where queries come from: "activation" (pixels that look like objects) or
                "learned" (embeddings, the same for all images).
            dual_path: update the pixels in each layer, too.
            num_queries: number of queries N.
            num_aux_queries: further learned queries A, which take part in the attention alone.
            num_layers: number of layers.
            dim: width C of queries, pixels and mask embeddings.
            num_heads: attention heads.
            ffn_dim: width of the feed-forward networks.
            position_size: rows, and columns, of the learned grid of positions.

        Raises:
            ValueError: if ``queries`` is unknown or a number is out of range.
        """
        super().__init__()
        check_option("queries", queries, _QUERIES)
        numbers = {"num_queries": num_queries, "num_layers": num_layers}
        numbers["position_size"] = position_size
        for name, number in numbers.items():
            if number < 1:
                raise ValueError(f"{name} is {number}, at least 1")
        if num_aux_queries < 0:
            raise ValueError(f"num_aux_queries is {num_aux_queries}, at least 0")
        self.num_queries = num_queries
        self.num_aux_queries = num_aux_queries
        self.proposals = None
        self.queries = self.query_position = None
        if queries == "activation":
            self.proposals = ActivationQueries(dim, num_classes, num_queries)
        else:
            self.queries = nn.Embedding(num_queries, dim)
            self.query_position = nn.Embedding(num_queries, dim)
        self.aux_queries = nn.Embedding(num_aux_queries, dim)
        self.aux_position = nn.Embedding(num_aux_queries, dim)
        # The public code starts with what the memory held before, at times NaN.
        self.position = nn.Parameter(0.02 * torch.randn(1, dim, position_size, position_size))
        self.fine_position = ResizedPosition()
        self.middle_position = ResizedPosition()
        self.layers = nn.ModuleList(
            DualPathLayer(dim, num_heads, ffn_dim, dual_path=dual_path) for _ in range(num_layers)
        )
        self.heads = nn.ModuleList(PredictionHead(dim, num_classes) for _ in range(num_layers + 1))

    def forward(
        self, fine: torch.Tensor, middle: torch.Tensor, inside: torch.Tensor | None = None
    ) -> DualPathOutput:
        """Decode instances.

        Args:
            fine: (B, C, h, w), the level whose pixels are decoded and make the masks (stride 8).
            middle: (B, C, h', w'), the level that queries are taken from (stride 16).
            inside: (B, h', w'), see :class:`ActivationQueries`.

        Returns:
            Predictions of N queries, of fewer where ``middle`` has not as many pixels.
        """
        state, proposals = self._start(fine, middle, inside)
        states, predictions = [state], []
        for layer, head in zip(self.layers, self.heads, strict=False):
            prediction = head(state, self._num_main(state), with_classes=self.training)
            with torch.no_grad():
                bias = self._attention_bias(prediction.mask_logits)
            state = layer(state, bias)
            states.append(state)
            predictions.append(prediction)
        predictions.append(self.heads[-1](state, self._num_main(state)))
        return DualPathOutput(predictions, states, proposals)

    def decode_guided(
        self, states: list[DecoderState], visible: torch.Tensor
    ) -> list[HeadPredictions]:
        """Run each layer once more, on what it gave, with given masks (FastInst, section 3.5).

        Args:
            states: of :meth:`forward`.
            visible: (B, N, h, w) bool, where each query may look.

        Returns:
            The predictions after each of the D layers.
        """
        bias = self._attention_bias(visible.float() - 1)
        return [
            head(layer(state, bias), self._num_main(state))
            for layer, head, state in zip(self.layers, self.heads[1:], states[1:], strict=True)
        ]

    def _start(
        self, fine: torch.Tensor, middle: torch.Tensor, inside: torch.Tensor | None
    ) -> tuple[DecoderState, QueryProposals | None]:
        """Queries and pixels before the first layer."""
        batch = fine.shape[0]
        proposals = None
        if self.proposals is not None:
            proposals = self.proposals(middle, self.middle_position(middle, self.position), inside)
            queries, position = proposals.queries, proposals.position
        else:
            queries, position = (
                x.weight.expand(batch, -1, -1) for x in (self.queries, self.query_position)
            )
        state = DecoderState(
            torch.cat((queries, self.aux_queries.weight.expand(batch, -1, -1)), dim=1),
            torch.cat((position, self.aux_position.weight.expand(batch, -1, -1)), dim=1),
            fine.flatten(2).transpose(1, 2),
            self.fine_position(fine, self.position),
            tuple(fine.shape[-2:]),
        )
        return state, proposals

    def _num_main(self, state: DecoderState) -> int:
        return state.queries.shape[1] - self.num_aux_queries

    def _attention_bias(self, mask_logits: torch.Tensor) -> torch.Tensor:
        """The bias (B, N + A, h * w) that masks attention where logits (B, N, h, w) are below 0.

        Queries that may look nowhere look everywhere, as the auxiliary ones do. Comparisons are
        written as products and limits, which every runtime has.
        """
        logits = mask_logits.flatten(2).float()
        hidden = (logits * _STEEP).clamp(-1, 0)
        looks = (logits.amax(dim=2, keepdim=True) * _STEEP).clamp(-1, 0) + 1
        bias = hidden * looks * -_MASKED
        if self.num_aux_queries:
            bias = F.pad(bias, (0, 0, 0, self.num_aux_queries))
        return bias
