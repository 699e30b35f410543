"""Attention of queries to an image, and the other parts of transformer decoders."""

import itertools

import torch
from torch import nn

__all__ = ["DecoderLayer", "FeedForward", "MultiHeadAttention", "mlp"]


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with separate queries, keys and values.

    It is written out: not every runtime knows attention as one operation.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        """Build the layer for queries, keys, values and output of the width ``dim``.

        Raises:
            ValueError: if ``num_heads`` does not divide ``dim``.
        """
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"the width {dim} is not divisible by {num_heads} attention heads")
        self.num_heads = num_heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)
        for layer in (self.q_proj, self.k_proj, self.v_proj, self.out_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        bias: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Attend.

        Args:
            query: (B, N, dim).
            key: (B, M, dim).
            value: (B, M, dim).
            bias: (B, N, M), added to the logits of all heads: very negative where a query shall
                not look.

        Returns:
            (B, N, dim).
        """
        q = self._split_heads(self.q_proj(query))
        k = self._split_heads(self.k_proj(key))
        v = self._split_heads(self.v_proj(value))
        # Scaled before the product, which half precision might not hold.
        logits = (q * q.shape[3] ** -0.5) @ k.transpose(2, 3)  # b, heads, n, m
        if bias is not None:
            logits = logits + bias[:, None]
        out = logits.softmax(dim=3) @ v  # b, heads, n, d
        return self.out_proj(out.transpose(1, 2).flatten(2))

    def _split_heads(self, x: torch.Tensor) -> torch.Tensor:
        """(B, N, dim) -> (B, heads, N, dim / heads)."""
        return x.unflatten(2, (self.num_heads, -1)).transpose(1, 2)


class DecoderLayer(nn.Module):
    """Cross-attention to image tokens, then self-attention between queries; no feed-forward part.

    Order, positions and layer norms are those of Mask2Former.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        """Build the layer for a width of queries and tokens."""
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
        """Build the network for a width ``dim``, and ``hidden`` between the layers."""
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
