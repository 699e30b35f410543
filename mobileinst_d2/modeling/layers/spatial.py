"""What depends on the size of a map: resizing, pooling to a size, and positions."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

__all__ = [
    "AveragePool",
    "BinAveragePool",
    "CoordinateChannels",
    "ResizedPosition",
    "SinePosition",
    "SizeConstant",
    "bilinear_resize",
    "fix_size_constants",
    "sine_position",
]

# Base of the geometric progression of wavelengths of positions.
_TEMPERATURE = 10000.0


class SizeConstant(nn.Module, ABC):
    """A tensor that depends on parameters and the size of an input, not on its values.

    It is computed at each call, and a buffer in a network that is made for one size only.
    """

    def __init__(self) -> None:
        """Start without a fixed value."""
        super().__init__()
        self.register_buffer("fixed", None, persistent=False)

    def forward(self, x: torch.Tensor, *options: int | torch.Tensor) -> torch.Tensor:
        """The tensor for an input like ``x``."""
        return self.compute(x, *options) if self.fixed is None else self.fixed

    @abstractmethod
    def compute(self, x: torch.Tensor, *options: int | torch.Tensor) -> torch.Tensor:
        """Compute the tensor for an input of the size, type and device of ``x``."""


@torch.no_grad()
def fix_size_constants(network: nn.Module, run: Callable[[], object]) -> None:
    """Keep the tensors of all :class:`SizeConstant` as buffers.

    Args:
        network: the network that they are in.
        run: feeds an input of the wanted size through the network.
    """
    handles = []

    def keep(layer: nn.Module, inputs: tuple[torch.Tensor], _: torch.Tensor) -> None:
        if layer.fixed is None:
            layer.fixed = layer.compute(*inputs).contiguous()

    for layer in network.modules():
        if isinstance(layer, SizeConstant):
            handles.append(layer.register_forward_hook(keep))
    try:
        run()
    finally:
        for handle in handles:
            handle.remove()


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


def sine_position(
    height: int, width: int, dim: int, *, device: torch.device | None = None
) -> torch.Tensor:
    """Sine embedding of a grid, as in DETR and Mask2Former: half of the channels for y, half for x.

    Coordinates run from 1 to the size and are scaled to (0, 2 pi].

    Args:
        height: rows of the grid.
        width: columns of the grid.
        dim: channels; a multiple of 4.
        device: where to make it.

    Returns:
        (height * width, dim), float32, row-major like ``flatten(2)`` of a feature map.

    Raises:
        ValueError: if ``dim`` is not a multiple of 4.
    """
    if dim % 4:
        raise ValueError(f"the sine embedding needs a multiple of 4 channels, got {dim}")
    half = dim // 2
    exponent = torch.arange(0, half, 2, dtype=torch.float32, device=device) / half
    frequency = _TEMPERATURE**-exponent  # half / 2

    def embed(length: int) -> torch.Tensor:
        position = torch.arange(1, length + 1, dtype=torch.float32, device=device)
        angle = position[:, None] / (length + 1e-6) * (2 * math.pi) * frequency
        return torch.stack((angle.sin(), angle.cos()), dim=2).flatten(1)  # length, half

    rows = embed(height)[:, None].expand(height, width, half)
    columns = embed(width)[None].expand(height, width, half)
    return torch.cat((rows, columns), dim=2).flatten(0, 1)


class SinePosition(SizeConstant):
    """The sine embedding of the positions and channels of a map."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """(H * W, C) for a map (B, C, H, W)."""
        channels, height, width = x.shape[1:]
        return sine_position(height, width, channels, device=x.device).to(x.dtype)


class ResizedPosition(SizeConstant):
    """A learned grid of positions, resized to a map (FastInst)."""

    def compute(self, x: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
        """(H * W, C) for a map (B, C, H, W), from a grid (1, C, h, w)."""
        resized = bilinear_resize(grid, tuple(x.shape[-2:]))
        return resized[0].flatten(1).transpose(0, 1).to(x.dtype)


class CoordinateChannels(SizeConstant):
    """The x and y coordinates of each position of a map, in [-1, 1]."""

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 2, H, W) for a map (B, C, H, W)."""
        rows = torch.linspace(-1, 1, x.shape[2], device=x.device, dtype=x.dtype)
        columns = torch.linspace(-1, 1, x.shape[3], device=x.device, dtype=x.dtype)
        y, x_grid = torch.meshgrid(rows, columns, indexing="ij")
        return torch.stack((x_grid, y)).expand(x.shape[0], -1, -1, -1)
