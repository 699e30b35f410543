"""Batches of a fixed size."""

from collections.abc import Sequence

import torch
from detectron2.structures import ImageList

__all__ = ["pad_to_size"]


def pad_to_size(images: Sequence[torch.Tensor], size: tuple[int, int]) -> ImageList:
    """Batch images of any sizes, padded with 0 on the right and below.

    Args:
        images: B images (3, h, w).
        size: (H, W) of the batch.

    Returns:
        (B, 3, H, W).

    Raises:
        ValueError: if an image is larger.
    """
    sizes = [tuple(image.shape[-2:]) for image in images]
    batch = images[0].new_zeros(len(images), 3, *size)
    for target, image, (height, width) in zip(batch, images, sizes, strict=True):
        if height > size[0] or width > size[1]:
            raise ValueError(
                f"an image of {height}x{width} pixels does not fit into INPUT.FIXED_SIZE_TEST "
                f"{size[0]}x{size[1]}; the mappers and FramePreparation resize it to fit"
            )
        target[:, :height, :width] = image
    return ImageList(batch, sizes)
