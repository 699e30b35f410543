"""Average pooling to a given size."""

import torch
import torch.nn.functional as F
from torch import nn

from .size_constant import SizeConstant

__all__ = ["BinAveragePool", "average_pool"]


def average_pool(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Adaptive average pooling, with one window for all places where sizes allow it.

    Args:
        x: (B, C, H, W).
        size: (h, w) of the result.

    Returns:
        (B, C, h, w).
    """
    sides = (*x.shape[-2:], *size)
    # A trace for any size has no numbers here.
    if all(isinstance(side, int) for side in sides):
        height, width, rows, columns = sides
        if height % rows == 0 and width % columns == 0:
            window = (height // rows, width // columns)
            return F.avg_pool2d(x, window, stride=window)
    return F.adaptive_avg_pool2d(x, size)


class BinAveragePool(nn.Module):
    """Adaptive average pooling to n x n as products with constant matrices.

    Bin i of an axis of length L covers the positions from floor(i L / n) to before
    ceil((i + 1) L / n), so windows differ and overlap where n does not divide L.
    """

    def __init__(self, bins: int) -> None:
        """Build the layer.

        Args:
            bins: rows, and columns, of the result.
        """
        super().__init__()
        self.rows = _BinWeights(bins, 2)
        self.columns = _BinWeights(bins, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, bins, bins)."""
        return self.rows(x) @ (x @ self.columns(x).transpose(0, 1))


class _BinWeights(SizeConstant):
    """Weights (bins, L) of the positions of an axis; each row adds up to 1."""

    def __init__(self, bins: int, axis: int) -> None:
        super().__init__()
        self.bins = bins
        self.axis = axis

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        length = x.shape[self.axis]
        position = torch.arange(length, device=x.device)
        number = torch.arange(self.bins, device=x.device)[:, None]
        # In exact arithmetic of integers.
        begins = number * length < (position + 1) * self.bins
        ends = (number + 1) * length > position * self.bins
        inside = (begins & ends).to(x.dtype)
        return inside / inside.sum(1, keepdim=True)
