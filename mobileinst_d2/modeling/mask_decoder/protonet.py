"""YOLACT's prototypes: masks that all instances of an image are mixed from."""

import torch
from torch import nn

from ..layers import bilinear_resize, xavier_conv

__all__ = ["NUM_PROTOTYPES", "Protonet"]

# As published.
NUM_PROTOTYPES = 32


class Protonet(nn.Module):
    """From the finest level of the pyramid to prototypes of twice its size (YOLACT, figure 3)."""

    def __init__(self, dim: int = 256) -> None:
        """Build the network; ``dim`` are the channels of the level, and of all convolutions."""
        super().__init__()
        self.before = nn.ModuleList(xavier_conv(dim, dim, 3) for _ in range(3))
        self.after = xavier_conv(dim, dim, 3)
        self.prototypes = xavier_conv(dim, NUM_PROTOTYPES)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, dim, h, w) -> (B, 32, 2 h, 2 w), none of it negative."""
        for conv in self.before:
            x = conv(x).relu()
        height, width = x.shape[-2:]
        x = bilinear_resize(x, (2 * height, 2 * width))
        return self.prototypes(self.after(x).relu()).relu()
