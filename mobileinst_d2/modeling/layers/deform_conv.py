"""Deformable convolution."""

import torch
from torch import nn
from torchvision.ops import deform_conv2d

__all__ = ["DeformableConv2d"]


class DeformableConv2d(nn.Module):
    """A convolution whose window has an offset for each of its positions (DCN v1).

    It computes with torchvision's operator, so it runs on every device that PyTorch does and needs
    no compiled part of Detectron2.

    Attributes:
        onnx_opset: the version of ONNX that has the operator.
    """

    onnx_opset = 19

    def __init__(self, conv: nn.Conv2d) -> None:
        """Make it of a convolution, whose weights and ``norm``, if it has one, it takes over.

        Raises:
            ValueError: if the convolution has groups.
        """
        super().__init__()
        if conv.groups != 1:
            raise ValueError(f"the convolution has {conv.groups} groups, only 1 can be deformable")
        self.stride, self.padding, self.dilation = conv.stride, conv.padding, conv.dilation
        height, width = conv.kernel_size
        # (y, x) of each position of the window.
        self.offset = nn.Conv2d(
            conv.in_channels,
            2 * height * width,
            conv.kernel_size,
            conv.stride,
            conv.padding,
            conv.dilation,
        )
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)
        self.weight, self.bias = conv.weight, conv.bias
        self.norm = getattr(conv, "norm", None)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, H, W) to (B, D, H / stride, W / stride)."""
        x = deform_conv2d(
            x,
            self.offset(x),
            self.weight,
            self.bias,
            stride=self.stride,
            padding=self.padding,
            dilation=self.dilation,
        )
        return x if self.norm is None else self.norm(x)
