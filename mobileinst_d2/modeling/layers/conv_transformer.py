"""Blocks of TopFormer and SeaFormer: transformers of 1x1 convolutions, semantics injection."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from .conv_norm import ConvNorm, init_conv
from .pooling import bilinear_resize

__all__ = ["ConvTransformer", "DropPath", "SemanticInjection", "attend_by_head"]


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
