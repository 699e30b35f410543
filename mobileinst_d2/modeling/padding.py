"""Padding on the right and below, which keeps coordinates as they are."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.structures import ImageList

__all__ = ["pad_images", "pad_to_size"]

_MIN_SIDE = 64


def pad_to_size(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Pad maps (..., h, w) with 0 to (..., H, W).

    Raises:
        ValueError: if they are larger.
    """
    height, width = x.shape[-2:]
    if height > size[0] or width > size[1]:
        raise ValueError(
            f"an image of {height}x{width} pixels does not fit into {size[0]}x{size[1]}; the "
            "mappers and FramePreparation resize it to INPUT.FIXED_SIZE_TEST"
        )
    return F.pad(x, (0, size[1] - width, 0, size[0] - height))


def pad_images(
    images: Sequence[torch.Tensor], divisor: int, size: tuple[int, int] | None = None
) -> ImageList:
    """Batch images of any sizes, padded with 0.

    Args:
        images: B images (3, h, w).
        divisor: divides the sides of the batch, if ``size`` does not say them.
        size: (H, W) of the batch; None = as small as can be, with sides of at least 64, the least
            that a mobile backbone takes.

    Returns:
        (B, 3, H, W).

    Raises:
        ValueError: if an image is larger than ``size``.
    """
    sizes = [tuple(image.shape[-2:]) for image in images]
    if size is None:
        sides = (max(_MIN_SIDE, *lengths) for lengths in zip(*sizes, strict=True))
        size = tuple(-(-side // divisor) * divisor for side in sides)
    return ImageList(torch.stack([pad_to_size(image, size) for image in images]), sizes)
