"""Multi-head attention of the instance decoders."""

import torch
from torch import nn

__all__ = ["MultiHeadAttention"]


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with separate queries, keys and values.

    It is written out: not every runtime knows attention as one operation.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        """Build the layer.

        Args:
            dim: width of queries, keys, values and output.
            num_heads: number of heads; divides ``dim``.

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
