"""Inputs of mask decoders, and stand-ins for their parts."""

import torch
from detectron2.layers import ShapeSpec
from torch import nn

from mobileinst_d2.modeling import MASK_DECODER_REGISTRY

CHANNELS = {"x3": 12, "x4": 12, "x5": 12, "x6": 20}
STRIDES = {"x3": 8, "x4": 16, "x5": 32, "x6": 64}
SHAPES = {name: ShapeSpec(channels=c, stride=STRIDES[name]) for name, c in CHANNELS.items()}


def small_decoder(name: str, **options: object) -> nn.Module:
    """A mask decoder with 12 channels, and kernels of 8."""
    return MASK_DECODER_REGISTRY.get(name)(SHAPES, **{"hidden_dim": 12, "kernel_dim": 8, **options})


class Scale(nn.Module):
    """Stands for a convolution: multiplies by a number."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.factor * x


def constant_features(*values: float) -> dict[str, torch.Tensor]:
    """Constant x3, x4, x5 and x6 of an input of 64x128: resizing leaves constants alone."""
    return {
        name: torch.full((1, CHANNELS[name], 64 // STRIDES[name], 128 // STRIDES[name]), value)
        for name, value in zip(CHANNELS, values, strict=True)
    }


def random_features(height: int, width: int) -> dict[str, torch.Tensor]:
    return {
        name: torch.randn(2, channels, -(-height // STRIDES[name]), -(-width // STRIDES[name]))
        for name, channels in CHANNELS.items()
    }
