"""Average pooling to a given size."""

import torch
import torch.nn.functional as F

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


class BinAveragePool(SizeConstant):
    """Adaptive average pooling to n x n as a product with a constant matrix.

    Bin i of an axis of length L covers the positions from floor(i L / n) to before
    ceil((i + 1) L / n), so windows differ and overlap where n does not divide L.

    Attributes:
        products_per_input: multiply-accumulates with each element, where pooling itself has one.
    """

    def __init__(self, bins: int) -> None:
        """Build the layer.

        Args:
            bins: rows, and columns, of the result.
        """
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
