"""MobileInst's semantic-enhanced mask decoder (paper, section 3.3)."""

import math
from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import nn

from mobileinst_core.options import check_option

from ..layers import (
    NORMS,
    ConvNorm,
    SemanticInjection,
    bilinear_resize,
    conv3x3_norm,
    conv3x3_stack,
)
from .build import MASK_DECODER_REGISTRY, MaskDecoderOutput, feature_channels, separable_levels

__all__ = ["MaskBranch", "PyramidRound", "SemanticEnhancedMaskDecoder"]

_DOWNSAMPLES = ("nearest", "max", "bilinear", "conv")
_UPSAMPLES = ("bilinear", "nearest")
_ENHANCER_PLACES = ("input", "output")


class Downsample(nn.Module):
    """Halves a map to the size of the next coarser level."""

    def __init__(self, mode: str, dim: int, norm: str, separable: bool = False) -> None:
        super().__init__()
        check_option("downsample", mode, _DOWNSAMPLES)
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
        downsample: str = "nearest",
        upsample: str = "bilinear",
        separable: Collection[int] = (),
    ) -> None:
        """Build the round.

        Args:
            dim: channels of all levels.
            num_levels: number of levels.
            top_down: from coarse to fine (True) or from fine to coarse.
            norm: normalisation of the 3x3 blocks.
            relu: end the 3x3 blocks with a ReLU.
            downsample: how a bottom-up round goes down, "nearest", "max", "bilinear" or "conv".
            upsample: how a top-down round goes up, "bilinear" or "nearest".
            separable: the levels, from 0 for the finest, whose 3x3 convolutions are
                depthwise-separable.
        """
        super().__init__()
        check_option("upsample", upsample, _UPSAMPLES)
        self.upsample = upsample
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
            x = levels[i]
            if carried is not None:
                size = x.shape[-2:]
                if self.downsamples is not None:
                    x = x + self.downsamples[i - 1](carried, size)
                elif self.upsample == "nearest":
                    x = x + F.interpolate(carried, size=size, mode="nearest")
                else:
                    x = x + bilinear_resize(carried, size)
            carried = x
            outputs[i] = self.convs[i](x)
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
        downsample: str,
        separable: Collection[int],
    ) -> None:
        super().__init__()
        num_levels = len(in_channels)
        self.enhancers = enhancers
        self.laterals = nn.ModuleList(ConvNorm(c, dim, norm="") for c in in_channels)
        blocks = {"norm": pyramid_norm, "separable": separable}
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
        norm: str = "BN",
        pyramid_norm: str = "BN",
        enhancers: Sequence[str] = ("input", "output"),
        downsample: str = "nearest",
        separable_strides: Sequence[int] = (),
        num_mask_convs: int = 1,
    ) -> None:
        """Build the decoder.

        Args:
            input_shape: outputs of the backbone.
            in_features: names of the local features, fine (stride 8) to coarse.
            global_feature: name of the global feature.
            hidden_dim: channels of the pyramid and of X_mask.
            kernel_dim: channels of a mask kernel.
            norm: normalisation of enhancers and mask convolutions.
            pyramid_norm: normalisation of the 3x3 pyramid blocks and of the fusion.
            enhancers: places of semantic enhancers: "input", "output", both or none.
            downsample: "nearest", "max", "bilinear" or "conv".
            separable_strides: strides at which 3x3 convolutions are depthwise-separable.
            num_mask_convs: 3x3 convolutions from the fused pyramid to X_mask.

        Raises:
            ValueError: if an option is unknown, or the backbone lacks a feature.
        """
        super().__init__()
        *in_channels, global_channels = feature_channels(
            input_shape, [*in_features, global_feature]
        )
        for place in enhancers:
            check_option("an entry of enhancers", place, _ENHANCER_PLACES)
        check_option("norm", norm, NORMS)
        check_option("pyramid_norm", pyramid_norm, NORMS)
        self.in_features = list(in_features)
        self.global_feature = global_feature
        enhancer_modules = nn.ModuleDict(
            {
                place: SemanticInjection(hidden_dim, global_channels, hidden_dim, norm=norm)
                for place in enhancers
            }
        )
        separable = separable_levels(input_shape, in_features, separable_strides)
        self.pyramid = TwoRoundPyramid(
            in_channels,
            hidden_dim,
            enhancer_modules,
            pyramid_norm=pyramid_norm,
            downsample=downsample,
            separable=separable,
        )
        self.mask_branch = MaskBranch(
            hidden_dim,
            kernel_dim=kernel_dim,
            num_convs=num_mask_convs,
            norm=norm,
            separable=0 in separable,
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """Keyword arguments from ``cfg.MODEL.MOBILEINST``."""
        model = cfg.MODEL.MOBILEINST
        node = model.MASK_DECODER
        *in_features, global_feature = model.BACKBONE_FEATURES
        return {
            "input_shape": input_shape,
            "in_features": in_features,
            "global_feature": global_feature,
            "hidden_dim": model.HIDDEN_DIM,
            "kernel_dim": model.KERNEL_DIM,
            "norm": model.NORM,
            "pyramid_norm": node.PYRAMID_NORM,
            "enhancers": node.ENHANCERS,
            "downsample": node.DOWNSAMPLE,
            "separable_strides": node.SEPARABLE_STRIDES,
            "num_mask_convs": node.NUM_MASK_CONVS,
        }

    def forward(self, features: dict[str, torch.Tensor]) -> MaskDecoderOutput:
        """Decode the backbone's maps by name, of an input whose sides are multiples of 64.

        Returns:
            Maps at the stride of the finest feature, 8.
        """
        local = [features[name] for name in self.in_features]
        return self.mask_branch(self.pyramid(local, features[self.global_feature]))
