"""Normalisation layers by name."""

import torch
import torch.nn.functional as F
from detectron2.layers import get_norm
from torch import nn

__all__ = ["BATCH_NORMS", "NORMS", "BatchNorm2d", "build_norm"]

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
    """Make a normalisation layer.

    Args:
        name: "" for none, or any other of ``NORMS``.
        channels: number of channels.

    Returns:
        The layer, or None when ``name`` is empty.
    """
    if name == "BN":
        return BatchNorm2d(channels)
    return get_norm(name, channels)
