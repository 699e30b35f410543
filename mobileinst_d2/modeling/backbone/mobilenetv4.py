"""MobileNetV4-Conv-Small with a feature at stride 64.

Qin et al., "MobileNetV4: Universal Models for the Mobile Ecosystem", ECCV 2024, without its
classifier. Attribute names are those of timm's checkpoints.
"""

from collections import OrderedDict

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from torch import nn

from ..layers import build_norm, init_conv
from .base import MobileBackbone, build_global_layers, check_image_channels, run_layers
from .checkpoints import load_backbone_weights

__all__ = ["MobileNetV4", "UniversalInvertedBottleneck"]

_STEM_CHANNELS = 32
# (kernel size, output channels, stride) of the plain convolutions of the first two stages.
_CONV_STAGES = (
    ((3, 32, 2), (1, 32, 1)),
    ((3, 96, 2), (1, 64, 1)),
)
# (kernel of the first and of the middle depthwise convolution, expansion, output channels, stride)
# of the blocks of the last two stages; kernel 0 = no such convolution.
_BLOCK_STAGES = (
    (
        (5, 5, 3, 96, 2),
        (0, 3, 2, 96, 1),
        (0, 3, 2, 96, 1),
        (0, 3, 2, 96, 1),
        (0, 3, 2, 96, 1),
        (3, 0, 4, 96, 1),
    ),
    (
        (3, 3, 6, 128, 2),
        (5, 5, 4, 128, 1),
        (0, 5, 4, 128, 1),
        (0, 5, 3, 128, 1),
        (0, 3, 4, 128, 1),
        (0, 3, 4, 128, 1),
    ),
)
# What the outputs of some stages are called, and channels.
_OUT_STAGES = {1: "x3", 2: "x4", 3: "x5"}
_CHANNELS = {"x3": 64, "x4": 96, "x5": 128, "x6": 128}


def _conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int = 1,
    stride: int = 1,
    *,
    depthwise: bool = False,
    norm: str,
    norm_name: str = "bn",
    relu: bool = True,
) -> nn.Sequential:
    """Convolution, normalisation and optional ReLU under timm's names."""
    conv = nn.Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        stride,
        kernel_size // 2,
        groups=in_channels if depthwise else 1,
        bias=False,
    )
    init_conv(conv)
    layers = [("conv", conv), (norm_name, build_norm(norm, out_channels))]
    return nn.Sequential(OrderedDict([*layers, ("act", nn.ReLU())] if relu else layers))


class UniversalInvertedBottleneck(nn.Module):
    """An inverted bottleneck with up to two depthwise convolutions: before and in the expansion."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        start_kernel: int,
        middle_kernel: int,
        expansion: int,
        stride: int = 1,
        norm: str = "BN",
    ) -> None:
        """Build the block.

        Args:
            in_channels: input channels.
            out_channels: output channels.
            start_kernel: window of the depthwise convolution before the expansion; 0 = none.
            middle_kernel: window of the one after it; 0 = none.
            expansion: hidden channels over input channels.
            stride: stride of the last depthwise convolution.
            norm: normalisation of every convolution.
        """
        super().__init__()
        hidden = in_channels * expansion
        layers = OrderedDict()
        if start_kernel:
            layers["dw_start"] = _conv_norm(
                in_channels,
                in_channels,
                start_kernel,
                1 if middle_kernel else stride,
                depthwise=True,
                norm=norm,
                relu=False,
            )
        layers["pw_exp"] = _conv_norm(in_channels, hidden, norm=norm)
        if middle_kernel:
            layers["dw_mid"] = _conv_norm(
                hidden, hidden, middle_kernel, stride, depthwise=True, norm=norm
            )
        layers["pw_proj"] = _conv_norm(hidden, out_channels, norm=norm, relu=False)
        for name, layer in layers.items():
            self.add_module(name, layer)
        self.residual = stride == 1 and in_channels == out_channels

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, in_channels, H, W) to (B, out_channels, H / stride, W / stride)."""
        y = x
        for layer in self.children():
            y = layer(y)
        return x + y if self.residual else y


def _build_stages(norm: str) -> list[nn.Sequential]:
    """The four stages, at strides 4, 8, 16 and 32."""
    stages, channels = [], _STEM_CHANNELS
    for convs in _CONV_STAGES:
        layers = []
        for kernel_size, out_channels, stride in convs:
            layers.append(
                _conv_norm(channels, out_channels, kernel_size, stride, norm=norm, norm_name="bn1")
            )
            channels = out_channels
        stages.append(nn.Sequential(*layers))
    for blocks in _BLOCK_STAGES:
        layers = []
        for start_kernel, middle_kernel, expansion, out_channels, stride in blocks:
            layers.append(
                UniversalInvertedBottleneck(
                    channels,
                    out_channels,
                    start_kernel=start_kernel,
                    middle_kernel=middle_kernel,
                    expansion=expansion,
                    stride=stride,
                    norm=norm,
                )
            )
            channels = out_channels
        stages.append(nn.Sequential(*layers))
    return stages


@BACKBONE_REGISTRY.register()
class MobileNetV4(MobileBackbone):
    """MobileNetV4-Conv-Small as a Detectron2 backbone.

    Outputs ``x3``, ``x4``, ``x5`` (strides 8, 16, 32) are those of its second, third and fourth
    stage; ``x6`` (stride 64) is made from ``x5``, as the network itself ends at stride 32. The
    1x1 convolution to 960 channels after the fourth stage belongs to the classifier.
    """

    @configurable
    def __init__(
        self,
        *,
        out_features: tuple[str, ...] = ("x3", "x4", "x5", "x6"),
        global_feature: str = "conv",
        norm: str = "BN",
        weights: str = "",
    ) -> None:
        """Build the backbone, up to the coarsest output.

        Args:
            out_features: which of "x3", "x4", "x5", "x6" to return.
            global_feature: how x6 is made from x5, see :func:`build_global_layers`.
            norm: normalisation of every convolution.
            weights: file or URL of a public checkpoint to start from; "" starts at random.

        Raises:
            ValueError: if ``global_feature`` or an output is unknown.
        """
        super().__init__(_CHANNELS, out_features, norm=norm, section="MOBILENETV4")
        self.conv_stem = nn.Conv2d(3, _STEM_CHANNELS, 3, 2, 1, bias=False)
        init_conv(self.conv_stem)
        self.bn1 = build_norm(norm, _STEM_CHANNELS)
        # x6 comes from the last stage.
        last = max(i for i, name in _OUT_STAGES.items() if name <= max(out_features))
        self.blocks = nn.Sequential(*_build_stages(norm)[: last + 1])
        global_layers = build_global_layers(
            global_feature, _CHANNELS["x5"], norm=norm, activation=nn.ReLU, section="MOBILENETV4"
        )
        self.global_layers = global_layers if "x6" in out_features else None
        if weights:
            load_backbone_weights(self, weights)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        """Keyword arguments from ``cfg.MODEL.MOBILENETV4``."""
        check_image_channels("MobileNetV4", input_shape)
        node = cfg.MODEL.MOBILENETV4
        return {
            "out_features": node.OUT_FEATURES,
            "global_feature": node.GLOBAL_FEATURE,
            "norm": node.NORM,
            "weights": cfg.MODEL.BACKBONE.WEIGHTS,
        }

    def extract(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map images (B, 3, H, W) to the outputs."""
        x = self.bn1(self.conv_stem(x)).relu()
        return run_layers(self.blocks, x, _OUT_STAGES, self.global_layers)
