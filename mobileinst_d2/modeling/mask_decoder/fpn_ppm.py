"""SparseInst's encoder (section 3.2), also as a mask decoder: a baseline of the paper's Table 6."""

from collections.abc import Collection, Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from fvcore.nn import weight_init
from torch import nn

from mobileinst_core.options import check_option

from ..layers import NORMS, ConvNorm, PyramidPooling, bilinear_resize
from .build import MASK_DECODER_REGISTRY, MaskDecoderOutput, feature_channels, separable_levels
from .semantic_enhanced import MaskBranch, PyramidRound

__all__ = ["FPNPPM", "FPNPPMMaskDecoder", "InstanceContextEncoder"]


class FPNPPM(nn.Module):
    """Laterals, pyramid pooling at the coarsest, a top-down FPN, and all levels in one map."""

    def __init__(
        self,
        in_channels: Sequence[int],
        dim: int = 256,
        *,
        ppm_dim: int = 512,
        ppm_bins: Sequence[int] = (1, 2, 3, 6),
        norm: str = "BN",
        upsample: str = "bilinear",
        separable: Collection[int] = (),
    ) -> None:
        """Build the encoder.

        Args:
            in_channels: channels of the levels, fine to coarse.
            dim: channels of all that is inside, and of the output.
            ppm_dim: channels of each pooled map; 0 = no pyramid pooling.
            ppm_bins: rows and columns of the pooled maps.
            norm: normalisation of the 3x3 output convolutions and of the fusion.
            upsample: how the FPN goes up, "bilinear" or "nearest".
            separable: the levels, from 0 for the finest, whose 3x3 convolutions are
                depthwise-separable.
        """
        super().__init__()
        num_levels = len(in_channels)
        self.laterals = nn.ModuleList(ConvNorm(c, dim, norm="") for c in in_channels)
        self.ppm = PyramidPooling(dim, ppm_dim, ppm_bins) if ppm_dim else nn.Identity()
        self.top_down = PyramidRound(
            dim,
            num_levels,
            top_down=True,
            norm=norm,
            relu=False,
            upsample=upsample,
            separable=separable,
        )
        self.fusion = ConvNorm(num_levels * dim, dim, norm=norm)

    def forward(self, features: Sequence[torch.Tensor]) -> torch.Tensor:
        """Fuse the levels, fine to coarse, to (B, dim, H, W) at the finest."""
        levels = [lateral(x) for lateral, x in zip(self.laterals, features, strict=True)]
        levels[-1] = self.ppm(levels[-1])
        finest, *coarser = self.top_down(levels)
        size = finest.shape[-2:]
        return self.fusion(torch.cat((finest, *(bilinear_resize(x, size) for x in coarser)), dim=1))


class InstanceContextEncoder(FPNPPM):
    """Pyramid pooling and an FPN in one map at stride 8, without normalisation."""

    def __init__(self, in_channels: Sequence[int], dim: int = 256) -> None:
        """Build the encoder, and start it as the public code does.

        Args:
            in_channels: channels of the features, fine to coarse.
            dim: channels of all that is inside, and of the output; pooled maps have a quarter.
        """
        super().__init__(in_channels, dim, ppm_dim=dim // 4, norm="", upsample="nearest")
        for block in (*self.laterals, *self.top_down.convs):
            weight_init.c2_xavier_fill(block.conv)
        for block in (*self.ppm.branches, self.ppm.bottleneck):
            block.conv.reset_parameters()


@MASK_DECODER_REGISTRY.register()
class FPNPPMMaskDecoder(nn.Module):
    """SparseInst's encoder and mask branch, in place of the semantic-enhanced mask decoder."""

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        in_features: Sequence[str] = ("x3", "x4", "x5"),
        hidden_dim: int = 256,
        kernel_dim: int = 128,
        ppm_dim: int = 512,
        ppm_bins: Sequence[int] = (1, 2, 3, 6),
        norm: str = "BN",
        pyramid_norm: str = "BN",
        separable_strides: Sequence[int] = (),
        num_mask_convs: int = 1,
    ) -> None:
        """Build the decoder.

        Args:
            input_shape: outputs of the backbone.
            in_features: names of the features, fine (stride 8) to coarse.
            hidden_dim: channels of the pyramid and of X_mask.
            kernel_dim: channels of a mask kernel.
            ppm_dim: channels of each pooled map; 0 = no pyramid pooling, a plain FPN.
            ppm_bins: rows and columns of the pooled maps.
            norm: normalisation of the mask convolutions.
            pyramid_norm: normalisation of the 3x3 output convolutions and of the fusion.
            separable_strides: strides at which 3x3 convolutions are depthwise-separable.
            num_mask_convs: 3x3 convolutions from the fused pyramid to X_mask.

        Raises:
            ValueError: if an option makes no sense, or the backbone lacks a feature.
        """
        super().__init__()
        check_option("norm", norm, NORMS)
        check_option("pyramid_norm", pyramid_norm, NORMS)
        self.in_features = list(in_features)
        in_channels = feature_channels(input_shape, in_features)
        separable = separable_levels(input_shape, in_features, separable_strides)
        self.pyramid = FPNPPM(
            in_channels,
            hidden_dim,
            ppm_dim=ppm_dim,
            ppm_bins=ppm_bins,
            norm=pyramid_norm,
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
        return {
            "input_shape": input_shape,
            "in_features": model.BACKBONE_FEATURES[:-1],
            "hidden_dim": model.HIDDEN_DIM,
            "kernel_dim": model.KERNEL_DIM,
            "ppm_dim": node.PPM_DIM,
            "norm": model.NORM,
            "pyramid_norm": node.PYRAMID_NORM,
            "separable_strides": node.SEPARABLE_STRIDES,
            "num_mask_convs": node.NUM_MASK_CONVS,
        }

    def forward(self, features: dict[str, torch.Tensor]) -> MaskDecoderOutput:
        """The backbone's maps by name to maps at the stride of the finest feature, 8."""
        return self.mask_branch(self.pyramid([features[name] for name in self.in_features]))
