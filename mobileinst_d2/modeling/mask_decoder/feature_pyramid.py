"""YOLACT's feature pyramid, P3 to P7."""

from collections.abc import Sequence

import torch
from torch import nn

from ..layers import bilinear_resize, xavier_conv

__all__ = ["FeaturePyramid"]


class FeaturePyramid(nn.Module):
    """A top-down pyramid with further levels below it (YOLACT, section 4, "Backbone Detector").

    Detectron2's FPN enlarges by nearest neighbours and has no ReLU on its outputs, so it does not
    take the published weights.
    """

    def __init__(self, in_channels: Sequence[int], dim: int = 256, *, num_extra: int = 2) -> None:
        """Build the pyramid.

        Args:
            in_channels: channels of the backbone's maps, fine to coarse.
            dim: channels of all levels.
            num_extra: levels below the coarsest map, each by a 3x3 convolution with stride 2 from
                the one above, without a ReLU.
        """
        super().__init__()
        self.laterals = nn.ModuleList(xavier_conv(channels, dim) for channels in in_channels)
        self.outputs = nn.ModuleList(xavier_conv(dim, dim, 3) for _ in in_channels)
        self.extra = nn.ModuleList(xavier_conv(dim, dim, 3, 2) for _ in range(num_extra))

    def forward(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """The levels (B, dim, h, w) of maps (B, C, h, w), fine to coarse, and the further ones."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        for i in reversed(range(len(levels) - 1)):
            # To the lateral's size: maps of 550 pixels are no multiples of each other.
            levels[i] = levels[i] + bilinear_resize(levels[i + 1], levels[i].shape[-2:])
        levels = [conv(x).relu() for conv, x in zip(self.outputs, levels, strict=True)]
        for conv in self.extra:
            levels.append(conv(levels[-1]))
        return levels
