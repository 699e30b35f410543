"""Masks from their logits, as published: over the whole image."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from detectron2.structures import BitMasks

from .layers import bilinear_resize

__all__ = [
    "LOGIT_UPSAMPLING",
    "MASK_FEATURE_STRIDE",
    "MaskCrop",
    "PastedMasks",
    "PublishedMasks",
    "maskness",
    "paste_masks",
    "upsample_mask_logits",
]

# Stride of the mask features, and how much finer the masks' probabilities are.
MASK_FEATURE_STRIDE = 8
LOGIT_UPSAMPLING = 2


class MaskCrop(NamedTuple):
    """The part of a mask that holds all of its foreground.

    Attributes:
        top: first row of the part in the image.
        left: first column.
        columns: (width, height) bool, the pixels column by column.
    """

    top: int
    left: int
    columns: np.ndarray


class PastedMasks(NamedTuple):
    """Masks in the original image, without those that have no pixel there.

    Attributes:
        shown: (m,) int64, numbers of the masks among those that were asked for.
        masks: (m, H, W) bool.
        boxes: (m, 4), tight around them: x0, y0, x1, y1.
    """

    shown: torch.Tensor
    masks: torch.Tensor
    boxes: torch.Tensor


def upsample_mask_logits(logits: torch.Tensor) -> torch.Tensor:
    """Mask logits (B, N, h, w) at stride 8 to (B, N, 2h, 2w) at stride 4."""
    height, width = logits.shape[-2:]
    return bilinear_resize(logits, (height * LOGIT_UPSAMPLING, width * LOGIT_UPSAMPLING))


def maskness(mask_probs: torch.Tensor, threshold: float) -> torch.Tensor:
    """Mean probability of the foreground of each mask; 0 for masks without foreground.

    Args:
        mask_probs: (N, h, w), in [0, 1].
        threshold: foreground is above it.

    Returns:
        (N,), float32, 0 or in (threshold, 1].
    """
    # NaN is not above the threshold. Half precision cannot hold the area of a large mask.
    foreground = mask_probs > threshold
    total = torch.where(foreground, mask_probs, 0.0).sum((1, 2), dtype=torch.float32)
    return total / (foreground.sum((1, 2)) + 1e-6)


def paste_masks(
    mask_logits: torch.Tensor,
    image_size: tuple[int, int],
    output_size: tuple[int, int],
    threshold: float,
) -> torch.Tensor:
    """Binary masks in the original image, as published.

    Probabilities are resized to the padded input, cropped to the image and resized to the
    original size.

    Args:
        mask_logits: (n, h, w), at stride 4 of the padded input.
        image_size: (H, W) of the image inside the padded input.
        output_size: (H, W) of the original image.
        threshold: mask probability above which a pixel belongs to the instance.

    Returns:
        (n, *output_size), bool.
    """
    if len(mask_logits) == 0:
        return torch.zeros((0, *output_size), dtype=torch.bool, device=mask_logits.device)
    stride = MASK_FEATURE_STRIDE // LOGIT_UPSAMPLING
    padded_size = (mask_logits.shape[1] * stride, mask_logits.shape[2] * stride)
    probs = bilinear_resize(mask_logits.sigmoid()[None], padded_size)
    probs = probs[:, :, : image_size[0], : image_size[1]]
    return bilinear_resize(probs, output_size)[0] > threshold


class PublishedMasks:
    """Masks by the published pipeline: everything over the whole image.

    It has the methods of :class:`BoxMasks`.
    """

    def __init__(self, mask_logits: torch.Tensor, threshold: float) -> None:
        """Take the logits, see :class:`BoxMasks`."""
        # PyTorch resizes no empty batch.
        self._logits = (
            upsample_mask_logits(mask_logits[None])[0] if len(mask_logits) else mask_logits
        )
        self._threshold = threshold

    def quality(self) -> torch.Tensor:
        """The :func:`maskness` of each mask, (N,)."""
        return maskness(self._logits.sigmoid(), self._threshold)

    def paste(
        self, numbers: torch.Tensor, image_size: tuple[int, int], output_size: tuple[int, int]
    ) -> PastedMasks:
        """Masks in the original image."""
        masks = self._full(numbers, image_size, output_size)
        boxes = BitMasks(masks).get_bounding_boxes().tensor.to(masks.device)
        shown = (boxes[:, 2] > boxes[:, 0]).nonzero()[:, 0]
        if len(shown) < len(masks):
            masks, boxes = masks[shown], boxes[shown]
        return PastedMasks(shown, masks, boxes)

    def crops(
        self, numbers: torch.Tensor, image_size: tuple[int, int], output_size: tuple[int, int]
    ) -> Iterator[MaskCrop | None]:
        """Masks one by one, here uncropped."""
        for mask in self._full(numbers, image_size, output_size).cpu().numpy():
            yield MaskCrop(0, 0, np.ascontiguousarray(mask.T)) if mask.any() else None

    def _full(
        self, numbers: torch.Tensor, image_size: tuple[int, int], output_size: tuple[int, int]
    ) -> torch.Tensor:
        logits = self._logits[numbers.to(self._logits.device)]
        return paste_masks(logits, image_size, output_size, self._threshold)
