"""Transformers: of queries that read an image, and of 1x1 convolutions over a map."""

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from .conv_norm import ConvNorm, init_conv
from .spatial import bilinear_resize

__all__ = [
    "ConvTransformer",
    "DecoderLayer",
    "DropPath",
    "FeedForward",
    "MultiHeadAttention",
    "SemanticInjection",
    "attend_by_head",
    "mlp",
]


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
            logits = logits + bias[:, None].to(logits.dtype)
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


# Blocks of TopFormer and SeaFormer.


def attend_by_head(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, num_heads: int, *, scale: float = 1.0
) -> torch.Tensor:
    """Attention with the channels first: ``softmax(scale * q^T k) v`` for each head.

    Args:
        q: (B, C, N).
        k: (B, C, M).
        v: (B, D, M).
        num_heads: divides C and D.
        scale: factor on the logits.

    Returns:
        (B, D, N).
    """
    q, k, v = (x.unflatten(1, (num_heads, -1)) for x in (q, k, v))  # b, heads, c, n
    logits = q.transpose(2, 3) @ k  # b, heads, n, m
    if scale != 1.0:
        logits = logits * scale
    attention = logits.softmax(dim=3)
    return (v @ attention.transpose(2, 3)).flatten(1, 2)


class DropPath(nn.Module):
    """Drops a residual branch per sample in training and scales what is left by 1 / (1 - p)."""

    def __init__(self, probability: float = 0.0) -> None:
        """Build the layer.

        Args:
            probability: chance in [0, 1) that the branch of a sample is dropped.

        Raises:
            ValueError: if ``probability`` is not in that range.
        """
        super().__init__()
        if not 0.0 <= probability < 1.0:
            raise ValueError(f"the probability must be in [0, 1), got {probability}")
        self.probability = probability

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop in training, pass on ``x`` (B, ...) otherwise."""
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        mask = x.new_empty((len(x),) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * mask / keep


class _ConvMlp(nn.Module):
    """Feed-forward part of a transformer block, with a depthwise 3x3 convolution inside."""

    def __init__(self, dim: int, hidden: int, norm: str) -> None:
        super().__init__()
        self.fc1 = ConvNorm(dim, hidden, norm=norm)
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        init_conv(self.dwconv)
        self.act = nn.ReLU6()
        self.fc2 = ConvNorm(hidden, dim, norm=norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, dim, H, W) -> (B, dim, H, W)."""
        return self.fc2(self.act(self.dwconv(self.fc1(x))))


class _ConvTransformerBlock(nn.Module):
    """Attention and feed-forward part with residuals; no layer norm."""

    def __init__(
        self, attention: nn.Module, dim: int, hidden: int, *, drop_path: float, norm: str
    ) -> None:
        super().__init__()
        self.attn = attention
        self.mlp = _ConvMlp(dim, hidden, norm)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, dim, H, W) -> (B, dim, H, W)."""
        x = x + self.drop_path(self.attn(x))
        return x + self.drop_path(self.mlp(x))


class ConvTransformer(nn.Module):
    """A stack of transformer blocks with linearly growing stochastic depth.

    Modules are named as in the public TopFormer and SeaFormer checkpoints.
    """

    def __init__(
        self,
        attention: Callable[[], nn.Module],
        *,
        depth: int,
        dim: int,
        mlp_ratio: int,
        drop_path: float,
        norm: str = "BN",
    ) -> None:
        """Build the stack.

        Args:
            attention: makes the attention of one block, from (B, dim, H, W) to the same shape.
            depth: number of blocks.
            dim: channels.
            mlp_ratio: hidden channels of the feed-forward parts over ``dim``.
            drop_path: stochastic depth of the last block, in [0, 1); 0 in the first of several.
            norm: normalisation of the convolutions.
        """
        super().__init__()
        self.transformer_blocks = nn.ModuleList(
            _ConvTransformerBlock(attention(), dim, mlp_ratio * dim, drop_path=rate, norm=norm)
            for rate in torch.linspace(0, drop_path, depth).tolist()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, dim, H, W) -> (B, dim, H, W)."""
        for block in self.transformer_blocks:
            x = block(x)
        return x


class SemanticInjection(nn.Module):
    """``local(x) * up(hsigmoid(act(g))) + up(embed(g))``.

    TopFormer's semantics injection module, and the semantic enhancer of MobileInst's mask decoder
    (section 3.3).
    """

    def __init__(
        self, local_channels: int, global_channels: int, out_channels: int, *, norm: str = "BN"
    ) -> None:
        """Build the three 1x1 convolutions, with this normalisation."""
        super().__init__()
        self.local_embedding = ConvNorm(local_channels, out_channels, norm=norm)
        self.global_embedding = ConvNorm(global_channels, out_channels, norm=norm)
        self.global_act = ConvNorm(global_channels, out_channels, norm=norm)

    def forward(self, x_local: torch.Tensor, x_global: torch.Tensor) -> torch.Tensor:
        """Inject the coarser (B, global_channels, h, w) into (B, local_channels, H, W).

        Returns:
            (B, out_channels, H, W).
        """
        size = x_local.shape[-2:]
        gate = bilinear_resize(F.hardsigmoid(self.global_act(x_global)), size)
        shift = bilinear_resize(self.global_embedding(x_global), size)
        return self.local_embedding(x_local) * gate + shift
