"""SeaFormer: inverted residuals with squeeze-enhanced axial attention.

Wan et al., "SeaFormer: Squeeze-enhanced Axial Transformer for Mobile Semantic Segmentation",
ICLR 2023, without its heads. Modules are named as in the public checkpoints.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from torch import nn

from mobileinst_core.options import check_option

from ..layers import ConvNorm, ConvTransformer, SizeConstant, attend_by_head, inverted_residuals
from .base import MobileBackbone, check_image_channels

__all__ = ["SEAFORMER_VARIANTS", "SeaFormer", "SeaFormerVariant"]


@dataclass(frozen=True)
class SeaFormerVariant:
    """Sizes of one SeaFormer.

    Attributes:
        stem_channels: output channels of the first convolution.
        stages: for each of the strides 4, 8, 16, 32 and 64 the inverted residuals, as (kernel
            size, expansion, output channels, stride).
        depths: transformer blocks after each of the last stages, of as many as there are entries.
        key_dims: width of queries and keys of a head, for each of these.
        mlp_ratios: expansion of the feed-forward parts, for each of these.
        num_heads: heads of all transformer blocks.
    """

    stem_channels: int
    stages: tuple[tuple[tuple[int, int, int, int], ...], ...]
    depths: tuple[int, ...]
    key_dims: tuple[int, ...]
    mlp_ratios: tuple[int, ...]
    num_heads: int


SEAFORMER_VARIANTS = {
    "tiny": SeaFormerVariant(
        stem_channels=16,
        stages=(
            ((3, 1, 16, 1), (3, 4, 16, 2), (3, 3, 16, 1)),
            ((5, 3, 32, 2), (5, 3, 32, 1)),
            ((3, 3, 64, 2), (3, 3, 64, 1)),
            ((5, 3, 128, 2),),
            ((3, 6, 160, 2),),
        ),
        depths=(2, 2),
        key_dims=(16, 24),
        mlp_ratios=(2, 4),
        num_heads=4,
    ),
    "small": SeaFormerVariant(
        stem_channels=16,
        stages=(
            ((3, 1, 16, 1), (3, 4, 24, 2), (3, 3, 24, 1)),
            ((5, 3, 48, 2), (5, 3, 48, 1)),
            ((3, 3, 96, 2), (3, 3, 96, 1)),
            ((5, 4, 160, 2),),
            ((3, 6, 192, 2),),
        ),
        depths=(3, 3),
        key_dims=(16, 24),
        mlp_ratios=(2, 4),
        num_heads=6,
    ),
    "base": SeaFormerVariant(
        stem_channels=16,
        stages=(
            ((3, 1, 16, 1), (3, 4, 32, 2), (3, 3, 32, 1)),
            ((5, 3, 64, 2), (5, 3, 64, 1)),
            ((3, 3, 128, 2), (3, 3, 128, 1)),
            ((5, 4, 192, 2),),
            ((3, 6, 256, 2),),
        ),
        depths=(4, 4),
        key_dims=(16, 24),
        mlp_ratios=(2, 4),
        num_heads=8,
    ),
    "large": SeaFormerVariant(
        stem_channels=32,
        stages=(
            ((3, 3, 32, 1), (3, 4, 64, 2), (3, 4, 64, 1)),
            ((5, 4, 128, 2), (5, 4, 128, 1)),
            ((3, 4, 192, 2), (3, 4, 192, 1)),
            ((5, 4, 256, 2),),
            ((3, 6, 320, 2),),
        ),
        depths=(3, 3, 3),
        key_dims=(16, 20, 24),
        mlp_ratios=(2, 4, 6),
        num_heads=8,
    ),
}

# Outputs of the five stages; the first is not offered.
_STAGE_OUTPUTS = ("x2", "x3", "x4", "x5", "x6")
_POSITIONS = 16


class AxialPosition(SizeConstant):
    """Adds a learned position along one axis, resized to its length."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.pos_embed = nn.Parameter(torch.randn(1, channels, _POSITIONS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, channels, N) -> (B, channels, N)."""
        return x + super().forward(x)

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        """(1, channels, N) for (B, channels, N)."""
        return F.interpolate(self.pos_embed, size=x.shape[-1], mode="linear", align_corners=False)


class SeaAttention(nn.Module):
    """Squeeze-enhanced axial attention.

    Attention along rows and along columns, each averaged over the other axis, gates a
    convolution of queries, keys and values that keeps the details.
    """

    def __init__(self, dim: int, key_dim: int, num_heads: int, norm: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.scale = key_dim**-0.5
        key_width = num_heads * key_dim
        value_width = 2 * key_width
        width = 2 * key_width + value_width
        self.to_q = ConvNorm(dim, key_width, norm=norm)
        self.to_k = ConvNorm(dim, key_width, norm=norm)
        self.to_v = ConvNorm(dim, value_width, norm=norm)
        self.proj = nn.Sequential(
            nn.ReLU6(), ConvNorm(value_width, dim, norm=norm, norm_weight=0.0)
        )
        for axis in ("row", "column"):
            encode = ConvNorm(value_width, value_width, norm=norm, norm_weight=0.0)
            self.add_module(f"proj_encode_{axis}", nn.Sequential(nn.ReLU6(), encode))
            self.add_module(f"pos_emb_{axis}q", AxialPosition(key_width))
            self.add_module(f"pos_emb_{axis}k", AxialPosition(key_width))
        self.dwconv = ConvNorm(width, width, 3, groups=width, norm=norm)
        self.act = nn.ReLU6()
        self.pwconv = ConvNorm(width, dim, norm=norm)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, dim, H, W) -> (B, dim, H, W)."""
        q, k, v = self.to_q(x), self.to_k(x), self.to_v(x)
        detail = self.pwconv(self.act(self.dwconv(torch.cat((q, k, v), dim=1))))
        rows = attend_by_head(
            self.pos_emb_rowq(q.mean(3)),
            self.pos_emb_rowk(k.mean(3)),
            v.mean(3),
            self.num_heads,
            scale=self.scale,
        )
        columns = attend_by_head(
            self.pos_emb_columnq(q.mean(2)),
            self.pos_emb_columnk(k.mean(2)),
            v.mean(2),
            self.num_heads,
            scale=self.scale,
        )
        context = self.proj_encode_row(rows.unsqueeze(3))  # b, c, h, 1
        context = context + self.proj_encode_column(columns.unsqueeze(2))  # b, c, h, w
        return F.hardsigmoid(self.proj(v + context)) * detail


@BACKBONE_REGISTRY.register()
class SeaFormer(MobileBackbone):
    """SeaFormer as a Detectron2 backbone.

    Outputs ``x3``, ``x4``, ``x5``, ``x6`` (strides 8, 16, 32, 64) are those of the stages, after
    their transformer blocks where they have any.
    """

    @configurable
    def __init__(
        self,
        *,
        variant: str = "base",
        out_features: tuple[str, ...] = ("x3", "x4", "x5", "x6"),
        drop_path: float = 0.1,
        norm: str = "BN",
        freeze_at: int = 0,
    ) -> None:
        """Build the backbone with random weights, up to the coarsest output.

        Args:
            variant: "tiny", "small", "base" or "large".
            out_features: which of "x3", "x4", "x5", "x6" to return.
            drop_path: stochastic depth of the last transformer block of each stage, in [0, 1).
            norm: normalisation of every convolution.
            freeze_at: see :meth:`freeze`.

        Raises:
            ValueError: if ``variant`` or an output is unknown, or ``freeze_at`` out of range.
        """
        check_option("variant", variant, SEAFORMER_VARIANTS)
        sizes = SEAFORMER_VARIANTS[variant]
        channels = {
            name: blocks[-1][2] for name, blocks in zip(_STAGE_OUTPUTS, sizes.stages, strict=True)
        }
        super().__init__(channels, out_features, norm=norm)
        # Names of the modules of each stage. Stages and transformers are numbered from 1.
        self.stages: list[list[str]] = []
        in_channels = sizes.stem_channels
        for number in range(1, _STAGE_OUTPUTS.index(max(out_features)) + 2):
            layers = inverted_residuals(in_channels, sizes.stages[number - 1], norm=norm)
            if number == 1:
                stem = nn.Sequential(ConvNorm(3, in_channels, 3, 2, norm=norm), nn.ReLU())
                layers = OrderedDict(stem_block=stem, **layers)
            self.add_module(f"smb{number}", nn.Sequential(layers))
            self.stages.append([f"smb{number}"])
            in_channels = channels[_STAGE_OUTPUTS[number - 1]]
            transformer = number - (len(sizes.stages) - len(sizes.depths))
            if transformer > 0:
                module = _build_transformer(sizes, transformer, in_channels, drop_path, norm)
                self.add_module(f"trans{transformer}", module)
                self.stages[-1].append(f"trans{transformer}")
        self.freeze(freeze_at)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        """Keyword arguments from ``cfg.MODEL.SEAFORMER`` and ``cfg.MODEL.BACKBONE``."""
        check_image_channels("SeaFormer", input_shape)
        return {
            "variant": cfg.MODEL.SEAFORMER.VARIANT,
            "drop_path": cfg.MODEL.BACKBONE.DROP_PATH,
            "norm": cfg.MODEL.BACKBONE.NORM,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        }

    def stage_ends(self) -> dict[int, str]:
        """The stem and the stages, see :meth:`MobileBackbone.stage_ends`."""
        stages = zip((4, 8, 16, 32), self.stages, strict=False)
        return {2: "smb1.stem_block"} | {stride: names[-1] for stride, names in stages}

    def extract(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map images (B, 3, H, W) to the outputs of all stages that there are."""
        features = {}
        for output, names in zip(_STAGE_OUTPUTS, self.stages, strict=False):
            for name in names:
                x = getattr(self, name)(x)
            features[output] = x
        return features


def _build_transformer(
    sizes: SeaFormerVariant, number: int, dim: int, drop_path: float, norm: str
) -> ConvTransformer:
    """The transformer blocks under ``trans{number}``."""
    key_dim = sizes.key_dims[number - 1]
    return ConvTransformer(
        lambda: SeaAttention(dim, key_dim, sizes.num_heads, norm),
        depth=sizes.depths[number - 1],
        dim=dim,
        mlp_ratio=sizes.mlp_ratios[number - 1],
        drop_path=drop_path,
        norm=norm,
    )
