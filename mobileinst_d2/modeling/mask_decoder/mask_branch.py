"""From the fused pyramid to the features that kernels multiply."""

import math

import torch
from torch import nn

from ..layers import ConvNorm, conv3x3_stack
from .build import MaskDecoderOutput

__all__ = ["MaskBranch"]


class MaskBranch(nn.Module):
    """3x3 convolutions to X_mask, then a 1x1 projection to the width of a kernel."""

    def __init__(
        self,
        dim: int,
        *,
        kernel_dim: int,
        in_channels: int | None = None,
        num_convs: int = 1,
        norm: str = "BN",
        separable: bool = False,
    ) -> None:
        """Build the branch.

        Args:
            dim: channels of X_mask.
            kernel_dim: channels of a kernel; equal to ``dim`` leaves out the projection.
            in_channels: channels of the fused pyramid; None = ``dim``.
            num_convs: number of 3x3 convolutions.
            norm: their normalisation.
            separable: make the 3x3 convolutions depthwise-separable.
        """
        super().__init__()
        self.convs = conv3x3_stack(
            in_channels or dim, dim, num_convs, separable=separable, norm=norm
        )
        self.projection: nn.Module = nn.Identity()
        if kernel_dim != dim:
            self.projection = ConvNorm(dim, kernel_dim, norm="")
            # Keeps the second moment of X_mask, which is about 0.5 after batch norm and ReLU: the
            # scale of the mask logits then depends on the kernels alone.
            with torch.no_grad():
                self.projection.conv.weight *= math.sqrt(kernel_dim / (2 * dim))

    def forward(self, fused: torch.Tensor) -> MaskDecoderOutput:
        """Map the fused pyramid (B, in_channels, H/8, W/8) to X_mask and the mask features."""
        x_mask = self.convs(fused)
        return MaskDecoderOutput(fused, x_mask, self.projection(x_mask))
