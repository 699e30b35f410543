"""Pyramid pooling."""

from collections.abc import Sequence

import torch
from torch import nn

from .conv_norm import ConvNorm
from .spatial import BinAveragePool, bilinear_resize

__all__ = ["PyramidPooling"]


class PyramidPooling(nn.Module):
    """Pooling at several scales (PPM): what a map shows as a whole and in parts, fused into it."""

    def __init__(self, dim: int, pooled_dim: int, bins: Sequence[int] = (1, 2, 3, 6)) -> None:
        """Build the module.

        Args:
            dim: channels of input and output.
            pooled_dim: channels of each pooled map, at least 1.
            bins: rows, and columns, of each pooled map.

        Raises:
            ValueError: if the width or a bin is not positive, or there are no bins.
        """
        super().__init__()
        if pooled_dim < 1:
            raise ValueError(f"pooled_dim is {pooled_dim}, at least 1")
        if not bins or min(bins) < 1:
            raise ValueError(f"bins is {list(bins)}, name one or more, each at least 1")
        self.pools = nn.ModuleList(BinAveragePool(n) for n in bins)
        # No batch norm: a bin of 1 leaves it a single value per image to normalise.
        self.branches = nn.ModuleList(ConvNorm(dim, pooled_dim, norm="", relu=True) for _ in bins)
        self.bottleneck = ConvNorm(dim + len(bins) * pooled_dim, dim, norm="", relu=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, dim, H, W) -> (B, dim, H, W); H and W may be smaller than the bins."""
        size = x.shape[-2:]
        pooled = [
            bilinear_resize(branch(pool(x)), size)
            for pool, branch in zip(self.pools, self.branches, strict=True)
        ]
        # In this order in the published files of SparseInst and FastInst.
        return self.bottleneck(torch.cat((*pooled, x), dim=1))
