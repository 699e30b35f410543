"""MobileNetV2 with a feature at stride 64.

Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks", CVPR 2018, without its
classifier. Attribute names are those of torchvision's checkpoints.
"""

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from torch import nn

from ..layers import ConvNorm, InvertedResidual
from .base import MobileBackbone, activated, build_global_layers, check_image_channels, run_layers
from .checkpoints import load_backbone_weights

__all__ = ["MobileNetV2"]

# (expansion, output channels, repetitions, stride of the first)
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
_STEM_CHANNELS = 32
# What the outputs of some layers are called, and channels.
_OUT_LAYERS = {6: "x3", 13: "x4", 17: "x5"}
_CHANNELS = {"x3": 32, "x4": 96, "x5": 320, "x6": 320}


class _InvertedResidual(InvertedResidual):
    """The block under torchvision's names: activations grouped with what they follow."""

    def __init__(
        self, in_channels: int, out_channels: int, *, stride: int, expansion: int, norm: str
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size=3,
            stride=stride,
            expansion=expansion,
            norm=norm,
        )
        *inner, projection = (layer for layer in self.conv if isinstance(layer, ConvNorm))
        self.conv = nn.Sequential(
            *(activated(layer, nn.ReLU6) for layer in inner), projection.conv, projection.norm
        )


@BACKBONE_REGISTRY.register()
class MobileNetV2(MobileBackbone):
    """MobileNetV2 as a Detectron2 backbone.

    Outputs ``x3``, ``x4``, ``x5`` (strides 8, 16, 32) are those of layers 6, 13 and 17; ``x6``
    (stride 64) is made from ``x5``, as the network itself ends at stride 32.
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
            global_feature: how x6 is made from x5: "conv" (3x3 with stride 2), "separable" (the
                same as depthwise and pointwise convolution) or "pool" (2x2 average).
            norm: normalisation of every convolution.
            weights: file or URL of a public checkpoint to start from; "" starts at random.

        Raises:
            ValueError: if ``global_feature`` or an output is unknown.
        """
        super().__init__(_CHANNELS, out_features, norm=norm, section="MOBILENETV2")
        # x6 comes from the last layer.
        last = max(i for i, name in _OUT_LAYERS.items() if name <= max(out_features))
        layers = [activated(ConvNorm(3, _STEM_CHANNELS, 3, 2, norm=norm), nn.ReLU6)]
        channels = _STEM_CHANNELS
        for expansion, out_channels, repetitions, stride in _STAGES:
            for i in range(repetitions):
                layers.append(
                    _InvertedResidual(
                        channels,
                        out_channels,
                        stride=stride if i == 0 else 1,
                        expansion=expansion,
                        norm=norm,
                    )
                )
                channels = out_channels
        self.features = nn.Sequential(*layers[: last + 1])
        global_layers = build_global_layers(
            global_feature, channels, norm=norm, activation=nn.ReLU6, section="MOBILENETV2"
        )
        self.global_layers = global_layers if "x6" in out_features else None
        if weights:
            load_backbone_weights(self, weights)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        """Keyword arguments from ``cfg.MODEL.MOBILENETV2``."""
        check_image_channels("MobileNetV2", input_shape)
        node = cfg.MODEL.MOBILENETV2
        return {
            "out_features": node.OUT_FEATURES,
            "global_feature": node.GLOBAL_FEATURE,
            "norm": node.NORM,
            "weights": cfg.MODEL.BACKBONE.WEIGHTS,
        }

    def extract(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map images (B, 3, H, W) to the outputs."""
        return run_layers(self.features, x, _OUT_LAYERS, self.global_layers)
