"""MobileInst's semantic-enhanced mask decoder (paper, section 3.3)."""

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import nn

from ..layers import (
    INJECTION_GATES,
    NORMS,
    ConvNorm,
    SemanticInjection,
    bilinear_resize,
    conv3x3_norm,
)
from ..options import check_option
from .build import MASK_DECODER_REGISTRY, MaskDecoderOutput, feature_channels, separable_levels
from .mask_branch import MaskBranch

__all__ = ["PyramidRound", "SemanticEnhancedMaskDecoder"]

_DOWNSAMPLES = ("nearest", "max", "bilinear", "conv")
_ORDERS = ("sum_conv", "conv_sum")
_LAYOUTS = ("two_rounds", "zigzag")
_ENHANCER_PLACES = ("input", "output")


class Downsample(nn.Module):
    """Halves a map to the size of the next coarser level."""

    def __init__(self, mode: str, dim: int, norm: str, separable: bool = False) -> None:
        super().__init__()
        check_option("MODEL.MASK_DECODER.DOWNSAMPLE", mode, _DOWNSAMPLES)
        self.mode = mode
        self.conv = None
        if mode == "conv":
            self.conv = conv3x3_norm(dim, dim, 2, separable=separable, norm=norm)

    def forward(self, x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """(B, dim, H, W) -> (B, dim, *size)."""
        if self.conv is not None:
            return self.conv(x)
        if self.mode == "max":
            return F.max_pool2d(x, 2, stride=2, ceil_mode=True)
        if self.mode == "bilinear":
            return bilinear_resize(x, size)
        return F.interpolate(x, size=size, mode="nearest")


class PyramidRound(nn.Module):
    """One pass over the pyramid: each level is added to the next, with a 3x3 block at each."""

    def __init__(
        self,
        dim: int,
        num_levels: int,
        *,
        top_down: bool,
        norm: str = "BN",
        relu: bool = True,
        order: str = "sum_conv",
        downsample: str = "nearest",
        separable: Collection[int] = (),
    ) -> None:
        """Build the round.

        Args:
            dim: channels of all levels.
            num_levels: number of levels.
            top_down: from coarse to fine (True) or from fine to coarse.
            norm: normalisation of the 3x3 blocks.
            relu: end the 3x3 blocks with a ReLU.
            order: "sum_conv" or "conv_sum", which comes first at a level.
            downsample: how a bottom-up round goes down, see ``MODEL.MASK_DECODER.DOWNSAMPLE``.
            separable: the levels, from 0 for the finest, whose 3x3 convolutions are
                depthwise-separable.
        """
        super().__init__()
        self.conv_first = order == "conv_sum"
        levels = range(num_levels)
        self.visit = list(reversed(levels)) if top_down else list(levels)
        self.convs = nn.ModuleList(
            conv3x3_norm(dim, dim, separable=i in separable, norm=norm, relu=relu) for i in levels
        )
        self.downsamples = (
            None
            if top_down
            else nn.ModuleList(
                Downsample(downsample, dim, norm, i in separable) for i in levels[1:]
            )
        )

    def forward(self, levels: list[torch.Tensor]) -> list[torch.Tensor]:
        """Map the levels, fine to coarse, to as many of the same shapes."""
        outputs = list(levels)
        carried = None
        for i in self.visit:
            x = self.convs[i](levels[i]) if self.conv_first else levels[i]
            if carried is not None:
                size = x.shape[-2:]
                if self.downsamples is None:
                    x = x + bilinear_resize(carried, size)
                else:
                    x = x + self.downsamples[i - 1](carried, size)
            carried = x
            outputs[i] = x if self.conv_first else self.convs[i](x)
        return outputs


class TwoRoundPyramid(nn.Module):
    """Laterals, a top-down and a bottom-up round, a sum at stride 8 and a 1x1 fusion."""

    def __init__(
        self,
        in_channels: Sequence[int],
        dim: int,
        enhancers: nn.ModuleDict,
        *,
        pyramid_norm: str,
        lateral_norm: str,
        order: str,
        downsample: str,
        separable: Collection[int],
    ) -> None:
        super().__init__()
        num_levels = len(in_channels)
        self.enhancers = enhancers
        self.laterals = nn.ModuleList(ConvNorm(c, dim, norm=lateral_norm) for c in in_channels)
        blocks = {"norm": pyramid_norm, "order": order, "separable": separable}
        self.top_down = PyramidRound(dim, num_levels, top_down=True, **blocks)
        self.bottom_up = PyramidRound(
            dim, num_levels, top_down=False, downsample=downsample, **blocks
        )
        self.fusion = ConvNorm(dim, dim, norm=pyramid_norm)

    def forward(self, features: list[torch.Tensor], x_global: torch.Tensor) -> torch.Tensor:
        """Fuse the levels, fine to coarse, to one map at the finest."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        if "input" in self.enhancers:
            levels[-1] = self.enhancers["input"](levels[-1], x_global)
        levels = self.bottom_up(self.top_down(levels))
        if "output" in self.enhancers:
            levels[-1] = self.enhancers["output"](levels[-1], x_global)
        merged = levels[-1]
        for level in reversed(levels[:-1]):
            merged = level + bilinear_resize(merged, level.shape[-2:])
        return self.fusion(merged)


class ZigzagPyramid(nn.Module):
    """One path from coarse to fine, down again and up again, with a 3x3 block at each stop.

    The other arrangement that costs what the paper says; it has one 1x1 convolution at the
    coarsest level, and laterals only where the backbone's width differs.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        dim: int,
        enhancers: nn.ModuleDict,
        *,
        pyramid_norm: str,
        lateral_norm: str,
        order: str,
        downsample: str,
        separable: Collection[int],
    ) -> None:
        super().__init__()
        self.enhancers = enhancers
        self.conv_first = order == "conv_sum"
        coarsest = len(in_channels) - 1
        self.laterals = nn.ModuleList(
            nn.Identity() if c == dim and i < coarsest else ConvNorm(c, dim, norm=lateral_norm)
            for i, c in enumerate(in_channels)
        )
        up = list(range(coarsest, -1, -1))
        down = list(range(1, coarsest + 1))
        self.path = [*up, *down, *up[1:]]
        self.convs = nn.ModuleList(
            conv3x3_norm(dim, dim, separable=i in separable, norm=pyramid_norm, relu=True)
            for i in self.path
        )
        self.downsamples = nn.ModuleList(
            Downsample(downsample, dim, pyramid_norm, i in separable) for i in down
        )

    def forward(self, features: list[torch.Tensor], x_global: torch.Tensor) -> torch.Tensor:
        """Fuse the levels, fine to coarse, to one map at the finest."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        coarsest = len(levels) - 1
        if "input" in self.enhancers:
            levels[coarsest] = self.enhancers["input"](levels[coarsest], x_global)
        previous, x = None, None
        for stop, (i, conv) in enumerate(zip(self.path, self.convs, strict=True)):
            node = conv(levels[i]) if self.conv_first else levels[i]
            if x is not None and previous > i:
                node = node + bilinear_resize(x, node.shape[-2:])
            elif x is not None:
                node = node + self.downsamples[previous](x, node.shape[-2:])
            x = node if self.conv_first else conv(node)
            if i == coarsest and stop > 0 and "output" in self.enhancers:
                x = self.enhancers["output"](x, x_global)
            levels[i], previous = x, i
        return x


@MASK_DECODER_REGISTRY.register()
class SemanticEnhancedMaskDecoder(nn.Module):
    """Multi-scale local features, enhanced by the global one, fused to mask features at 1/8."""

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        in_features: Sequence[str] = ("x3", "x4", "x5"),
        global_feature: str = "x6",
        hidden_dim: int = 256,
        kernel_dim: int = 128,
        layout: str = "two_rounds",
        pyramid_order: str = "sum_conv",
        norm: str = "BN",
        pyramid_norm: str = "BN",
        lateral_norm: str = "",
        enhancers: Sequence[str] = ("input", "output"),
        enhancer_gate: str = "hsigmoid",
        downsample: str = "nearest",
        separable_strides: Sequence[int] = (),
        num_mask_convs: int = 1,
        coord_features: bool = False,
    ) -> None:
        """Build the decoder.

        Args:
            input_shape: outputs of the backbone.
            in_features: names of the local features, fine (stride 8) to coarse.
            global_feature: name of the global feature.
            hidden_dim: channels of the pyramid and of X_mask.
            kernel_dim: channels of a mask kernel.
            layout: "two_rounds" or "zigzag".
            pyramid_order: "sum_conv" or "conv_sum".
            norm: normalisation of enhancers and mask convolutions.
            pyramid_norm: normalisation of the 3x3 pyramid blocks and of the fusion.
            lateral_norm: normalisation of the laterals.
            enhancers: places of semantic enhancers: "input", "output", both or none.
            enhancer_gate: gate of the enhancers.
            downsample: "nearest", "max", "bilinear" or "conv".
            separable_strides: strides at which 3x3 convolutions are depthwise-separable.
            num_mask_convs: 3x3 convolutions from the fused pyramid to X_mask.
            coord_features: append coordinates in front of them.

        Raises:
            ValueError: if an option is unknown, or the backbone lacks a feature.
        """
        super().__init__()
        *in_channels, global_channels = feature_channels(
            input_shape, [*in_features, global_feature]
        )
        # Checked here and not where they are used, as not every design uses them.
        check_option("MODEL.MASK_DECODER.LAYOUT", layout, _LAYOUTS)
        check_option("MODEL.MASK_DECODER.PYRAMID_ORDER", pyramid_order, _ORDERS)
        check_option("MODEL.MASK_DECODER.ENHANCER_GATE", enhancer_gate, INJECTION_GATES)
        for place in enhancers:
            check_option("MODEL.MASK_DECODER.ENHANCERS", place, _ENHANCER_PLACES)
        check_option("MODEL.MASK_DECODER.NORM", norm, NORMS)
        check_option("MODEL.MASK_DECODER.PYRAMID_NORM", pyramid_norm, NORMS)
        check_option("MODEL.MASK_DECODER.LATERAL_NORM", lateral_norm, NORMS)
        self.in_features = list(in_features)
        self.global_feature = global_feature
        enhancer_modules = nn.ModuleDict(
            {
                place: SemanticInjection(
                    hidden_dim,
                    global_channels,
                    hidden_dim,
                    norm=norm,
                    gate=enhancer_gate,
                )
                for place in enhancers
            }
        )
        separable = separable_levels(input_shape, in_features, separable_strides)
        arrangement = ZigzagPyramid if layout == "zigzag" else TwoRoundPyramid
        self.pyramid = arrangement(
            in_channels,
            hidden_dim,
            enhancer_modules,
            pyramid_norm=pyramid_norm,
            lateral_norm=lateral_norm,
            order=pyramid_order,
            downsample=downsample,
            separable=separable,
        )
        self.mask_branch = MaskBranch(
            hidden_dim,
            kernel_dim=kernel_dim,
            num_convs=num_mask_convs,
            norm=norm,
            coord_features=coord_features,
            separable=0 in separable,
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """Keyword arguments from ``cfg.MODEL.MASK_DECODER``."""
        node = cfg.MODEL.MASK_DECODER
        return {
            "input_shape": input_shape,
            "in_features": node.IN_FEATURES,
            "global_feature": node.GLOBAL_FEATURE,
            "hidden_dim": node.HIDDEN_DIM,
            "kernel_dim": cfg.MODEL.INSTANCE_DECODER.KERNEL_DIM,
            "layout": node.LAYOUT,
            "pyramid_order": node.PYRAMID_ORDER,
            "norm": node.NORM,
            "pyramid_norm": node.PYRAMID_NORM,
            "lateral_norm": node.LATERAL_NORM,
            "enhancers": node.ENHANCERS,
            "enhancer_gate": node.ENHANCER_GATE,
            "downsample": node.DOWNSAMPLE,
            "separable_strides": node.SEPARABLE_STRIDES,
            "num_mask_convs": node.NUM_MASK_CONVS,
            "coord_features": node.COORD_FEATURES,
        }

    def forward(self, features: dict[str, torch.Tensor]) -> MaskDecoderOutput:
        """Decode.

        Args:
            features: the backbone's maps by name, of an input whose sides are multiples of 64.

        Returns:
            Maps at the stride of the finest feature, 8.
        """
        local = [features[name] for name in self.in_features]
        return self.mask_branch(self.pyramid(local, features[self.global_feature]))
