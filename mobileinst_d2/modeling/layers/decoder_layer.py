"""Parts of transformer decoders: attention of queries to an image, feed-forward networks."""

import itertools

import torch
from torch import nn

from .attention import MultiHeadAttention

__all__ = ["DecoderLayer", "FeedForward", "mlp"]


class DecoderLayer(nn.Module):
    """Cross-attention to image tokens, then self-attention between queries; no feed-forward part.

    Order, positions and layer norms are those of Mask2Former.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        """Build the layer.

        Args:
            dim: width of queries and tokens.
            num_heads: attention heads.
        """
        super().__init__()
        self.cross_attention = MultiHeadAttention(dim, num_heads)
        self.cross_norm = nn.LayerNorm(dim)
        self.self_attention = MultiHeadAttention(dim, num_heads)
        self.self_norm = nn.LayerNorm(dim)

    def forward(
        self,
        queries: torch.Tensor,
        query_position: torch.Tensor,
        tokens: torch.Tensor,
        position: torch.Tensor,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Update the queries.

        Args:
            queries: (B, N, C).
            query_position: (N, C) or (B, N, C).
            tokens: (B, M, C).
            position: (M, C).
            bias: see :class:`MultiHeadAttention`, of the cross-attention.

        Returns:
            (B, N, C).
        """
        read = self.cross_attention(queries + query_position, tokens + position, tokens, bias)
        queries = self.cross_norm(queries + read)
        placed = queries + query_position
        return self.self_norm(queries + self.self_attention(placed, placed, queries))


class FeedForward(nn.Module):
    """Two linear layers with a residual and a layer norm."""

    def __init__(self, dim: int, hidden: int) -> None:
        """Build the network.

        Args:
            dim: width of input and output.
            hidden: width between the layers.
        """
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm = nn.LayerNorm(dim)
        for layer in (self.linear1, self.linear2):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, C) -> (B, N, C)."""
        return self.norm(x + self.linear2(self.linear1(x).relu()))


def mlp(*widths: int) -> nn.Sequential:
    """Linear layers with a ReLU between them.

    Args:
        widths: of the input, of what each layer gives.

    Returns:
        A module from (..., widths[0]) to (..., widths[-1]); its linear layers are 0, 2, 4, ...
    """
    layers: list[nn.Module] = []
    for width, out in itertools.pairwise(widths):
        layers += [nn.Linear(width, out), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
