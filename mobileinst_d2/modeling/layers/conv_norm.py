"""Normalisations by name, and convolutions that several networks share."""

import itertools
import math
from collections import OrderedDict
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.layers import get_norm
from torch import nn

__all__ = [
    "BATCH_NORMS",
    "NORMS",
    "BatchNorm2d",
    "ConvNorm",
    "InvertedResidual",
    "build_norm",
    "conv3x3_norm",
    "conv3x3_stack",
    "init_conv",
    "inverted_residuals",
    "mask_product",
    "xavier_conv",
]

# Names for `build_norm`, as in Detectron2.
BATCH_NORMS = ("BN", "SyncBN", "FrozenBN", "nnSyncBN", "naiveSyncBN", "naiveSyncBN_N")
NORMS = ("", *BATCH_NORMS, "GN")


class BatchNorm2d(nn.BatchNorm2d):
    """Batch normalisation that also trains on a single value per channel.

    One image of 64x64 pixels has one position at stride 64: no variance can be taken over it, and
    PyTorch raises. The running statistics are used then, and left as they are.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Normalise ``x`` (N, C, H, W)."""
        if self.training and x.numel() == x.shape[1]:
            return F.batch_norm(
                x, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        return super().forward(x)


def build_norm(name: str, channels: int) -> nn.Module | None:
    """Make the normalisation of a name in ``NORMS``; None for ""."""
    if name == "BN":
        return BatchNorm2d(channels)
    return get_norm(name, channels)


def init_conv(conv: nn.Conv2d) -> None:
    """Draw weights for a ReLU network: normal with variance 2 / fan-out; the bias becomes 0.

    The fan-out counts the outputs that an input has within its group. PyTorch's own
    ``kaiming_normal_`` does not know of groups and starts depthwise convolutions near 0. The window
    is square.
    """
    fan_out = conv.kernel_size[0] ** 2 * conv.out_channels // conv.groups
    nn.init.normal_(conv.weight, std=math.sqrt(2 / fan_out))
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)


def xavier_conv(
    in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1
) -> nn.Conv2d:
    """A convolution with weights from Xavier's uniform distribution and a bias of 0.

    The window is odd; the padding keeps the size at stride 1.
    """
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2)
    nn.init.xavier_uniform_(conv.weight)
    nn.init.zeros_(conv.bias)
    return conv


class ConvNorm(nn.Module):
    """Convolution, optional normalisation, optional ReLU.

    Without a normalisation the convolution has a bias. Names of public files, such as ``c`` and
    ``bn`` of TopFormer's, are mapped where files are read.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int = 1,
        stride: int = 1,
        *,
        groups: int = 1,
        norm: str = "BN",
        norm_weight: float = 1.0,
        relu: bool = False,
    ) -> None:
        """Build the block.

        Args:
            in_channels: input channels.
            out_channels: output channels.
            kernel_size: odd size of the window; the padding keeps the size at stride 1.
            stride: stride of the convolution.
            groups: groups of the convolution.
            norm: normalisation, see :func:`build_norm`; "" gives a bias instead.
            norm_weight: initial scale of the normalisation; 0 starts a residual branch as identity.
            relu: end with a ReLU.
        """
        super().__init__()
        padding = kernel_size // 2
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, groups=groups, bias=not norm
        )
        init_conv(self.conv)
        self.norm = build_norm(norm, out_channels)
        if norm_weight != 1.0:
            nn.init.constant_(self.norm.weight, norm_weight)
        self.relu = relu

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        x = self.conv(x)
        if self.norm is not None:
            x = self.norm(x)
        return x.relu() if self.relu else x


def conv3x3_norm(
    in_channels: int,
    out_channels: int,
    stride: int = 1,
    *,
    separable: bool = False,
    norm: str = "BN",
    relu: bool = False,
) -> nn.Module:
    """A 3x3 convolution with normalisation, whole or as a depthwise and a pointwise one.

    Args:
        in_channels: input channels.
        out_channels: output channels.
        stride: stride, of the depthwise convolution if there is one.
        separable: two convolutions, each with the normalisation and the ReLU.
        norm: normalisation, see :func:`build_norm`; "" gives a bias instead.
        relu: end with a ReLU.

    Returns:
        A module from (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride).
    """
    if not separable:
        return ConvNorm(in_channels, out_channels, 3, stride, norm=norm, relu=relu)
    depthwise = ConvNorm(
        in_channels, in_channels, 3, stride, groups=in_channels, norm=norm, relu=relu
    )
    return nn.Sequential(depthwise, ConvNorm(in_channels, out_channels, norm=norm, relu=relu))


def conv3x3_stack(
    in_channels: int,
    dim: int,
    num_convs: int,
    *,
    separable: bool = False,
    norm: str = "BN",
) -> nn.Sequential:
    """3x3 convolutions with ReLU, one after the other.

    Args:
        in_channels: input channels of the first.
        dim: all other channels.
        num_convs: how many.
        separable: see :func:`conv3x3_norm`.
        norm: see :func:`conv3x3_norm`.

    Returns:
        A module from (B, in_channels, H, W) to (B, dim, H, W).
    """
    widths = [in_channels, *[dim] * num_convs]
    return nn.Sequential(
        *(
            conv3x3_norm(width, out, separable=separable, norm=norm, relu=True)
            for width, out in itertools.pairwise(widths)
        )
    )


class InvertedResidual(nn.Module):
    """MobileNetV2's block: expand, depthwise, project; the input is added where shapes allow."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int,
        stride: int,
        expansion: int,
        norm: str = "BN",
    ) -> None:
        """Build the block.

        Args:
            in_channels: input channels.
            out_channels: output channels.
            kernel_size: window of the depthwise convolution.
            stride: 1 or 2, of the depthwise convolution.
            expansion: hidden channels over input channels; 1 leaves out the expansion.
            norm: normalisation of the three convolutions.
        """
        super().__init__()
        hidden = in_channels * expansion
        layers: list[nn.Module] = []
        if expansion != 1:
            layers += [ConvNorm(in_channels, hidden, norm=norm), nn.ReLU()]
        layers += [
            ConvNorm(hidden, hidden, kernel_size, stride, groups=hidden, norm=norm),
            nn.ReLU(),
            ConvNorm(hidden, out_channels, norm=norm),
        ]
        self.conv = nn.Sequential(*layers)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        return x + self.conv(x) if self.residual else self.conv(x)


def inverted_residuals(
    in_channels: int, blocks: Sequence[tuple[int, int, int, int]], *, norm: str = "BN"
) -> OrderedDict[str, InvertedResidual]:
    """A chain of inverted residuals, named as in the public TopFormer checkpoints.

    Args:
        in_channels: input channels of the first.
        blocks: (kernel size, expansion, output channels, stride) of each.
        norm: normalisation of the convolutions.

    Returns:
        ``layer1``, ``layer2``, ..., for ``nn.Sequential``.
    """
    layers = OrderedDict()
    for number, (kernel_size, expansion, out_channels, stride) in enumerate(blocks, 1):
        layers[f"layer{number}"] = InvertedResidual(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            expansion=expansion,
            norm=norm,
        )
        in_channels = out_channels
    return layers


def mask_product(kernels: torch.Tensor, mask_features: torch.Tensor) -> torch.Tensor:
    """Mask logits ``M = K . X_mask`` (paper, eq. 1).

    Kernels (B, N, D) and mask features (B, D, h, w) to (B, N, h, w).
    """
    return (kernels @ mask_features.flatten(2)).unflatten(2, mask_features.shape[-2:])
