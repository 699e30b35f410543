"""TopFormer: token pyramid, transformer on pooled tokens, semantics injection.

Zhang et al., "TopFormer: Token Pyramid Transformer for Mobile Semantic Segmentation", CVPR 2022,
without its segmentation head. Modules are named as in the public checkpoints.
"""

from collections import OrderedDict
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from torch import nn

from mobileinst_core.options import check_option

from ..layers import (
    AveragePool,
    ConvNorm,
    ConvTransformer,
    SemanticInjection,
    attend_by_head,
    inverted_residuals,
)
from .base import MobileBackbone, check_image_channels

__all__ = ["TOPFORMER_VARIANTS", "TopFormer", "TopFormerVariant"]


@dataclass(frozen=True)
class TopFormerVariant:
    """Sizes of one TopFormer.

    Attributes:
        blocks: (kernel size, expansion, output channels, stride) of each inverted residual.
        token_blocks: 1-based numbers of the blocks whose outputs are the tokens, fine to coarse
            (strides 4, 8, 16, 32).
        num_heads: heads of the transformer.
        sim_channels: output channels of the semantics injection.
    """

    blocks: tuple[tuple[int, int, int, int], ...]
    token_blocks: tuple[int, int, int, int]
    num_heads: int
    sim_channels: int

    @property
    def token_channels(self) -> list[int]:
        """Channels of the four tokens."""
        return [self.blocks[number - 1][2] for number in self.token_blocks]


TOPFORMER_VARIANTS = {
    "tiny": TopFormerVariant(
        blocks=(
            (3, 1, 16, 1),
            (3, 4, 16, 2),
            (3, 3, 16, 1),
            (5, 3, 32, 2),
            (5, 3, 32, 1),
            (3, 3, 64, 2),
            (3, 3, 64, 1),
            (5, 6, 96, 2),
            (5, 6, 96, 1),
        ),
        token_blocks=(3, 5, 7, 9),
        num_heads=4,
        sim_channels=128,
    ),
    "small": TopFormerVariant(
        blocks=(
            (3, 1, 16, 1),
            (3, 4, 24, 2),
            (3, 3, 24, 1),
            (5, 3, 48, 2),
            (5, 3, 48, 1),
            (3, 3, 96, 2),
            (3, 3, 96, 1),
            (5, 6, 128, 2),
            (5, 6, 128, 1),
            (3, 6, 128, 1),
        ),
        token_blocks=(3, 5, 7, 10),
        num_heads=6,
        sim_channels=192,
    ),
    "base": TopFormerVariant(
        blocks=(
            (3, 1, 16, 1),
            (3, 4, 32, 2),
            (3, 3, 32, 1),
            (5, 3, 64, 2),
            (5, 3, 64, 1),
            (3, 3, 128, 2),
            (3, 3, 128, 1),
            (5, 6, 160, 2),
            (5, 6, 160, 1),
            (3, 6, 160, 1),
        ),
        token_blocks=(3, 5, 7, 10),
        num_heads=8,
        sim_channels=256,
    ),
}

_STEM_CHANNELS = 16
_NUM_TRANSFORMER_BLOCKS = 4
_KEY_DIM = 16
_MLP_RATIO = 2


class TokenPyramid(nn.Sequential):
    """Stem and inverted residuals; gives the four tokens at strides 4, 8, 16 and 32."""

    def __init__(self, variant: TopFormerVariant, norm: str) -> None:
        stem = nn.Sequential(ConvNorm(3, _STEM_CHANNELS, 3, 2, norm=norm), nn.ReLU())
        blocks = inverted_residuals(_STEM_CHANNELS, variant.blocks, norm=norm)
        super().__init__(OrderedDict(stem=stem, **blocks))
        self.token_blocks = variant.token_blocks

    def forward(self, x: torch.Tensor) -> list[torch.Tensor]:
        """(B, 3, H, W) -> four maps, fine to coarse."""
        tokens = []
        for number, layer in enumerate(self):  # the stem is number 0
            x = layer(x)
            if number in self.token_blocks:
                tokens.append(x)
        return tokens


class TopFormerAttention(nn.Module):
    """Multi-head self-attention with 1x1 convolutions.

    The logits are not divided by the root of the key width: the normalisation after the
    projections learns the scale, and the public checkpoints were trained so.
    """

    def __init__(self, dim: int, num_heads: int, norm: str) -> None:
        super().__init__()
        self.num_heads = num_heads
        key_width = num_heads * _KEY_DIM
        value_width = 2 * key_width
        self.to_q = ConvNorm(dim, key_width, norm=norm)
        self.to_k = ConvNorm(dim, key_width, norm=norm)
        self.to_v = ConvNorm(dim, value_width, norm=norm)
        self.proj = nn.Sequential(
            nn.ReLU6(), ConvNorm(value_width, dim, norm=norm, norm_weight=0.0)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, dim, H, W) -> (B, dim, H, W)."""
        q, k, v = (projection(x).flatten(2) for projection in (self.to_q, self.to_k, self.to_v))
        out = attend_by_head(q, k, v, self.num_heads)
        return self.proj(out.unflatten(2, x.shape[-2:]))


@BACKBONE_REGISTRY.register()
class TopFormer(MobileBackbone):
    """TopFormer as a Detectron2 backbone.

    Outputs ``x3``, ``x4``, ``x5`` (strides 8, 16, 32): local features with injected semantics;
    ``x6`` (stride 64): the global feature, the transformer's output.
    """

    @configurable
    def __init__(
        self,
        *,
        variant: str = "base",
        out_features: tuple[str, ...] = ("x3", "x4", "x5", "x6"),
        sim_channels: int = 0,
        drop_path: float = 0.1,
        norm: str = "BN",
        freeze_at: int = 0,
    ) -> None:
        """Build the backbone with random weights.

        Args:
            variant: "tiny", "small" or "base".
            out_features: which of "x3", "x4", "x5", "x6" to return.
            sim_channels: channels of x3, x4, x5; 0 takes the variant's (128, 192, 256).
            drop_path: stochastic depth of the last transformer block, in [0, 1).
            norm: normalisation of every convolution.
            freeze_at: see :meth:`freeze`.

        Raises:
            ValueError: if ``variant`` or an output is unknown, or ``freeze_at`` out of range.
        """
        check_option("variant", variant, TOPFORMER_VARIANTS)
        sizes = TOPFORMER_VARIANTS[variant]
        width = sum(sizes.token_channels)
        sim_channels = sim_channels or sizes.sim_channels
        channels = dict.fromkeys(("x3", "x4", "x5"), sim_channels) | {"x6": width}
        super().__init__(channels, out_features, norm=norm)
        self.token_channels = sizes.token_channels
        self.token_blocks = sizes.token_blocks

        self.tpm = TokenPyramid(sizes, norm)
        self.pools = nn.ModuleList(AveragePool() for _ in self.token_channels)
        self.trans = ConvTransformer(
            lambda: TopFormerAttention(width, sizes.num_heads, norm),
            depth=_NUM_TRANSFORMER_BLOCKS,
            dim=width,
            mlp_ratio=_MLP_RATIO,
            drop_path=drop_path,
            norm=norm,
        )
        # Level 0 (stride 4) has no injection; the numbers are those of the public checkpoints.
        levels = [i for i in (1, 2, 3) if f"x{i + 2}" in out_features]
        self.SIM = nn.ModuleDict(
            {
                str(i): SemanticInjection(
                    self.token_channels[i], self.token_channels[i], sim_channels, norm=norm
                )
                for i in levels
            }
        )
        self.freeze(freeze_at)

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict:
        """Keyword arguments from ``cfg.MODEL.TOPFORMER`` and ``cfg.MODEL.BACKBONE``."""
        check_image_channels("TopFormer", input_shape)
        return {
            "variant": cfg.MODEL.TOPFORMER.VARIANT,
            "drop_path": cfg.MODEL.BACKBONE.DROP_PATH,
            "norm": cfg.MODEL.BACKBONE.NORM,
            "freeze_at": cfg.MODEL.BACKBONE.FREEZE_AT,
        }

    def stage_ends(self) -> dict[int, str]:
        """Those of the token pyramid, see :meth:`MobileBackbone.stage_ends`."""
        names = [name for name, _ in self.tpm.named_children()]
        blocks = zip((2, 4, 8, 16, 32), (0, *self.token_blocks), strict=True)
        return {stride: f"tpm.{names[number]}" for stride, number in blocks}

    def extract(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Map images (B, 3, H, W) to the outputs and x6."""
        tokens = self.tpm(x)
        height, width = tokens[-1].shape[-2:]
        pooled_size = ((height + 1) // 2, (width + 1) // 2)
        pooled = torch.cat(
            [pool(t, pooled_size) for pool, t in zip(self.pools, tokens, strict=True)], dim=1
        )
        x6 = self.trans(pooled)
        injected = x6.split(self.token_channels, dim=1)
        features = {"x6": x6}
        for level, sim in self.SIM.items():
            i = int(level)
            features[f"x{i + 2}"] = sim(tokens[i], injected[i])
        return features
