"""Masks from their logits as they are defined: every step over the whole image, in PyTorch."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.structures import BitMasks


class ReferenceMasks(NamedTuple):
    """Of n masks, of which m have a pixel in the original image.

    Attributes:
        quality: (n,), their maskness.
        shown: (m,), numbers of those that have a pixel.
        masks: (m, H, W) bool.
        boxes: (m, 4).
    """

    quality: np.ndarray
    shown: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray


def reference_masks(
    mask_logits: torch.Tensor,
    threshold: float,
    image_size: tuple[int, int],
    output_size: tuple[int, int],
    *,
    stride: int = 8,
    upsampling: int = 2,
) -> ReferenceMasks:
    """Masks and their maskness; see ``BoxMasks``."""
    probs = upsample(mask_logits, upsampling).sigmoid()
    padded_size = tuple(side * stride for side in mask_logits.shape[1:])
    masks = paste_probabilities(probs, padded_size, image_size, output_size) > threshold
    boxes = BitMasks(masks).get_bounding_boxes().tensor
    shown = (boxes[:, 2] > boxes[:, 0]).nonzero()[:, 0]
    arrays = (maskness(probs, threshold), shown, masks[shown], boxes[shown])
    return ReferenceMasks(*(x.numpy() for x in arrays))


def upsample(mask_logits: torch.Tensor, factor: int = 2) -> torch.Tensor:
    """Mask logits (N, h, w) to (N, factor * h, factor * w)."""
    if factor == 1:
        return mask_logits
    return resize(mask_logits, tuple(side * factor for side in mask_logits.shape[1:]))


def maskness(probs: torch.Tensor, threshold: float) -> torch.Tensor:
    """Mean probability (N,) of what is above the threshold in (N, h, w); 0 where nothing is."""
    foreground = probs > threshold
    total = torch.where(foreground, probs, 0.0).sum((1, 2))
    return total / (foreground.sum((1, 2)) + 1e-6)


def paste_probabilities(
    probs: torch.Tensor,
    padded_size: tuple[int, int],
    image_size: tuple[int, int],
    output_size: tuple[int, int],
) -> torch.Tensor:
    """Probabilities resized to the padded input, cropped to the image and resized again."""
    return resize(resize(probs, padded_size)[:, : image_size[0], : image_size[1]], output_size)


def resize(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(N, h, w) to (N, *size), bilinear with half-pixel centres."""
    return F.interpolate(x[None], size=size, mode="bilinear", align_corners=False)[0]
