"""SparseInst's instance context encoder (section 3.2)."""

from collections.abc import Sequence

from fvcore.nn import weight_init

from .fpn_ppm import FPNPPM

__all__ = ["InstanceContextEncoder"]


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
