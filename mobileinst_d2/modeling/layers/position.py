"""Positions: the sine embedding of attention and coordinate channels of convolutions."""

import math

import torch

from .pooling import bilinear_resize
from .size_constant import SizeConstant

__all__ = ["CoordinateChannels", "ResizedPosition", "SinePosition", "sine_position"]

# Base of the geometric progression of wavelengths.
_TEMPERATURE = 10000.0


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
