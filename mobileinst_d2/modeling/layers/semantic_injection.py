"""Injection of global semantics into a local feature."""

import torch
import torch.nn.functional as F
from torch import nn

from .conv_norm import ConvNorm
from .resize import bilinear_resize

__all__ = ["SemanticInjection"]


class SemanticInjection(nn.Module):
    """``local(x) * up(hsigmoid(act(g))) + up(embed(g))``.

    TopFormer's semantics injection module, and the semantic enhancer of MobileInst's mask decoder
    (section 3.3).
    """

    def __init__(
        self, local_channels: int, global_channels: int, out_channels: int, *, norm: str = "BN"
    ) -> None:
        """Build the module.

        Args:
            local_channels: channels of the local feature.
            global_channels: channels of the global feature.
            out_channels: channels of the result.
            norm: normalisation of the three 1x1 convolutions.
        """
        super().__init__()
        self.local_embedding = ConvNorm(local_channels, out_channels, norm=norm)
        self.global_embedding = ConvNorm(global_channels, out_channels, norm=norm)
        self.global_act = ConvNorm(global_channels, out_channels, norm=norm)

    def forward(self, x_local: torch.Tensor, x_global: torch.Tensor) -> torch.Tensor:
        """Inject.

        Args:
            x_local: (B, local_channels, H, W).
            x_global: (B, global_channels, h, w), coarser.

        Returns:
            (B, out_channels, H, W).
        """
        size = x_local.shape[-2:]
        gate = bilinear_resize(F.hardsigmoid(self.global_act(x_global)), size)
        shift = bilinear_resize(self.global_embedding(x_global), size)
        return self.local_embedding(x_local) * gate + shift
