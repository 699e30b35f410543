"""FastInst's pixel decoder: a feature pyramid with pyramid pooling at the top (section 3.2)."""

from collections.abc import Sequence

import torch
from fvcore.nn.weight_init import c2_xavier_fill
from torch import nn

from mobileinst_core.options import check_option

from ..layers import NORMS, ConvNorm, PyramidPooling, bilinear_resize

__all__ = ["PPMFPN"]


class PPMFPN(nn.Module):
    """Laterals, pyramid pooling at the coarsest, and a top-down path of finished levels.

    Other than in an FPN, what goes down is the output of a level, behind its norm and ReLU.
    """

    def __init__(self, in_channels: Sequence[int], dim: int = 256, *, norm: str = "GN") -> None:
        """Build the decoder.

        Args:
            in_channels: channels of the features, fine to coarse.
            dim: channels of all levels; pooled maps have a quarter.
            norm: normalisation of laterals and outputs; "GN" has 32 groups.

        Raises:
            ValueError: if the norm is unknown, or does not go with ``dim``.
        """
        super().__init__()
        check_option("norm", norm, NORMS)
        if norm == "GN" and dim % 32:
            raise ValueError(f"the width {dim} is not divisible by the 32 groups of GN")
        self.laterals = nn.ModuleList(ConvNorm(c, dim, norm=norm) for c in in_channels)
        self.outputs = nn.ModuleList(
            ConvNorm(dim, dim, 3, norm=norm, relu=True) for _ in in_channels
        )
        self.ppm = PyramidPooling(dim, dim // 4)
        for block in (*self.laterals, *self.outputs):
            c2_xavier_fill(block.conv)

    def forward(self, features: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        """Map the features, fine to coarse, to as many levels (B, dim, h, w) of the same sizes."""
        laterals = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        laterals[-1] = self.ppm(laterals[-1])
        levels = [self.outputs[-1](laterals[-1])]
        for lateral, output in zip(laterals[-2::-1], list(self.outputs)[-2::-1], strict=True):
            coarser = bilinear_resize(levels[0], lateral.shape[-2:])
            levels.insert(0, output(lateral + coarser))
        return levels
