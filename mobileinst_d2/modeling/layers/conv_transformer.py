"""Transformer blocks of 1x1 convolutions, as TopFormer and SeaFormer have them."""

from collections.abc import Callable

import torch
from torch import nn

from .conv_norm import ConvNorm, init_conv
from .drop_path import DropPath

__all__ = ["ConvTransformer", "attend_by_head"]


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
