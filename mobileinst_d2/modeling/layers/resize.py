"""Resizing of feature maps and masks."""

import torch
import torch.nn.functional as F

__all__ = ["bilinear_resize"]


def bilinear_resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Resize to ``size`` (H, W), half-pixel centres; (B, C, h, w) -> (B, C, H, W)."""
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)
