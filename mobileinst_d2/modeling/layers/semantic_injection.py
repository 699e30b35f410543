"""Injection of global semantics into a local feature."""

import torch
import torch.nn.functional as F
from torch import nn

from .conv_bn import init_conv
from .norm import build_norm
from .resize import bilinear_resize

__all__ = ["INJECTION_GATES", "SemanticInjection"]

INJECTION_GATES = {
    "hsigmoid": F.hardsigmoid,
    "sigmoid": torch.sigmoid,
    "none": None,
}


class _Conv1x1Norm(nn.Sequential):
    """1x1 convolution ``conv`` and ``bn``, named as in the ADE20K checkpoints.

    Without a normalisation the convolution has a bias.
    """

    def __init__(self, in_channels: int, out_channels: int, norm: str) -> None:
        super().__init__()
        conv = nn.Conv2d(in_channels, out_channels, 1, bias=not norm)
        init_conv(conv)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
        self.add_module("conv", conv)
        if norm:
            self.add_module("bn", build_norm(norm, out_channels))


class SemanticInjection(nn.Module):
    """``local(x) * up(gate(act(g))) + up(embed(g))``.

    TopFormer's semantics injection module, and the semantic enhancer of MobileInst's mask decoder
    (section 3.3).
    """

    def __init__(
        self,
        local_channels: int,
        global_channels: int,
        out_channels: int,
        *,
        norm: str = "BN",
        gate: str = "hsigmoid",
    ) -> None:
        """Build the module.

        Args:
            local_channels: channels of the local feature.
            global_channels: channels of the global feature.
            out_channels: channels of the result.
            norm: normalisation of the three 1x1 convolutions.
            gate: "hsigmoid", "sigmoid", or "none" for an addition without a gate.

        Raises:
            ValueError: if ``gate`` is unknown.
        """
        super().__init__()
        if gate not in INJECTION_GATES:
            raise ValueError(f"unknown gate {gate!r}, choose one of {sorted(INJECTION_GATES)}")
        self.gate = INJECTION_GATES[gate]
        self.local_embedding = _Conv1x1Norm(local_channels, out_channels, norm)
        self.global_embedding = _Conv1x1Norm(global_channels, out_channels, norm)
        if self.gate is not None:
            self.global_act = _Conv1x1Norm(global_channels, out_channels, norm)

    def forward(self, x_local: torch.Tensor, x_global: torch.Tensor) -> torch.Tensor:
        """Inject.

        Args:
            x_local: (B, local_channels, H, W).
            x_global: (B, global_channels, h, w), coarser.

        Returns:
            (B, out_channels, H, W).
        """
        size = x_local.shape[-2:]
        out = self.local_embedding(x_local)
        if self.gate is not None:
            out = out * bilinear_resize(self.gate(self.global_act(x_global)), size)
        return out + bilinear_resize(self.global_embedding(x_global), size)
