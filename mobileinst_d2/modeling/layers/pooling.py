"""Bilinear resizing, and average pooling to a given size, also for runtimes that lack it."""

import torch
import torch.nn.functional as F
from torch import nn

from .size_constant import SizeConstant

__all__ = ["AveragePool", "BinAveragePool", "bilinear_resize"]


def bilinear_resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize to ``size`` (H, W), half-pixel centres; (B, C, h, w) -> (B, C, H, W)."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


class AveragePool(nn.Module):
    """Adaptive average pooling to a size that is given at each call.

    Where sizes allow it, it is a pooling with one window for all places, and otherwise two products
    with constant matrices: adaptive pooling itself is nothing that other runtimes have.
    """

    def __init__(self) -> None:
        """Build the layer, which has no parameters."""
        super().__init__()
        self.row_weights = _AxisWeights(2)
        self.column_weights = _AxisWeights(3)

    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, *size)."""
        sides = (*x.shape[-2:], *size)
        # A trace for any size has no numbers here.
        if not all(isinstance(side, int) for side in sides):
            return F.adaptive_avg_pool2d(x, size)
        height, width, rows, columns = sides
        if height % rows == 0 and width % columns == 0:
            window = (height // rows, width // columns)
            return F.avg_pool2d(x, window, stride=window)
        channels = x.shape[1]
        by_row = x.flatten(1, 2)  # b, c * h, w
        pooled = F.linear(by_row, self.column_weights(x, columns)).unflatten(1, (channels, height))
        by_column = pooled.transpose(2, 3).flatten(1, 2)  # b, c * columns, h
        pooled = F.linear(by_column, self.row_weights(x, rows)).unflatten(1, (channels, columns))
        return pooled.transpose(2, 3)


class _AxisWeights(SizeConstant):
    """Weights (bins, length) of the positions of one axis of a map."""

    def __init__(self, axis: int) -> None:
        super().__init__()
        self.axis = axis

    def compute(self, x: torch.Tensor, bins: int) -> torch.Tensor:
        """For a map (B, C, H, W) and a number of bins."""
        return _bin_weights(bins, x.shape[self.axis], x.device).to(x.dtype)


class BinAveragePool(SizeConstant):
    """Adaptive average pooling to n x n as a product with a constant matrix.

    Bin i of an axis of length L covers the positions from floor(i L / n) to before
    ceil((i + 1) L / n), so windows differ and overlap where n does not divide L.

    Attributes:
        products_per_input: multiply-accumulates with each element, where pooling itself has one.
    """

    def __init__(self, bins: int) -> None:
        """Build the layer, whose result has this many rows and columns."""
        super().__init__()
        self.bins = bins
        self.products_per_input = bins**2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, H, W) -> (B, C, bins, bins)."""
        pooled = F.linear(x.flatten(2), super().forward(x))
        return pooled.unflatten(2, (self.bins, self.bins))

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """Weights (bins^2, H * W) of all positions in all bins; each row adds up to 1."""
        rows, columns = (_bin_weights(self.bins, length, x.device) for length in x.shape[-2:])
        return torch.kron(rows, columns).to(x.dtype)


def _bin_weights(bins: int, length: int, device: torch.device) -> torch.Tensor:
    """Weights (bins, length) of the positions of one axis."""
    position = torch.arange(length, device=device)
    number = torch.arange(bins, device=device)[:, None]
    starts_before = number * length < (position + 1) * bins
    ends_after = (number + 1) * length > position * bins
    inside = (starts_before & ends_after).float()
    return inside / inside.sum(1, keepdim=True)
