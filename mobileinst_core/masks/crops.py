"""Masks of an image, each kept as the part that holds its foreground, and RLE of such parts."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import cv2
import numpy as np
from pycocotools import mask as mask_util

__all__ = ["MaskCrop", "MaskCrops", "encode_around_foreground", "encode_crop"]


class MaskCrop(NamedTuple):
    """The part of a mask that holds all of its foreground.

    Attributes:
        top: its first row in the image.
        left: its first column.
        pixels: (h, w) bool; without a pixel if the mask is empty.
    """

    top: int
    left: int
    pixels: np.ndarray

    @classmethod
    def of(cls, mask: np.ndarray, top: int = 0, left: int = 0) -> "MaskCrop":
        """Cut a mask, or a part of one from a row and column on, tightly."""
        x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
        return cls(top + y, left + x, mask[y : y + height, x : x + width])

    @property
    def box(self) -> tuple[int, int, int, int]:
        """Tight around the mask: x0, y0, x1, y1."""
        height, width = self.pixels.shape
        return self.left, self.top, self.left + width, self.top + height


class MaskCrops:
    """Masks of an image of which only the crops are in memory.

    Whole masks of a few objects would take most of the time between the network and the screen.
    """

    def __init__(self, crops: list[MaskCrop], size: tuple[int, int]) -> None:
        """Take the crops of an image of a size (H, W)."""
        self._crops = crops
        self.size = tuple(size)

    @classmethod
    def of(cls, masks: np.ndarray) -> "MaskCrops":
        """Cut masks (n, H, W) bool; memory is shared."""
        return cls([MaskCrop.of(mask) for mask in masks], masks.shape[1:])

    def __len__(self) -> int:
        return len(self._crops)

    def __iter__(self) -> Iterator[MaskCrop]:
        return iter(self._crops)

    def __getitem__(self, index: np.ndarray | slice) -> "MaskCrops":
        """Some of the masks, by numbers, by a slice or by booleans."""
        numbers = np.arange(len(self._crops))[index].tolist()
        return MaskCrops([self._crops[n] for n in numbers], self.size)

    def full(self) -> np.ndarray:
        """(n, H, W) bool, in memory of their own."""
        # Most pixels are written once, here: zeros would be a second pass over all.
        masks = np.empty((len(self), *self.size), dtype=bool)
        for mask, (top, left, pixels) in zip(masks, self._crops, strict=True):
            height, width = pixels.shape
            rows = mask[top : top + height]
            mask[:top] = mask[top + height :] = False
            rows[:, :left] = rows[:, left + width :] = False
            rows[:, left : left + width] = pixels
        return masks


def encode_crop(top: int, left: int, columns: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """The RLE of a mask from the part that holds its foreground.

    Args:
        top: first row of the part in the mask.
        left: first column.
        columns: (w, h) bool, the pixels of the part column by column.
        size: (H, W) of the mask.

    Returns:
        ``{"size": [H, W], "counts": bytes}``, as pycocotools encodes the whole mask.
    """
    width, height = columns.shape
    if columns.size and columns.strides[1] != 1:
        # OpenCV turns rows into columns several times as fast as NumPy.
        columns = cv2.transpose(columns.T.view(np.uint8)).view(bool)
    # Background before and after the part; and below it, where the mask goes on there, so that no
    # run reaches into the next column.
    stride = height + (height < size[0])
    pixels = np.zeros(1 + width * stride + 1, dtype=bool)
    pixels[1:-1].reshape(width, stride)[:, :height] = columns
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    column, row = np.divmod(changes, stride)
    ends = np.empty(len(changes) + 2, dtype=np.int64)
    ends[0], ends[-1] = 0, size[0] * size[1]
    ends[1:-1] = (left + column) * size[0] + top + row
    counts = ends[1:] - ends[:-1]
    if counts[-1] == 0:
        counts = counts[:-1]  # the mask ends with its foreground
    return mask_util.frPyObjects([{"size": list(size), "counts": counts}], *size)[0]


def encode_around_foreground(mask: np.ndarray) -> dict[str, Any]:
    """The RLE of a whole mask, in about half of the time that pycocotools takes.

    Args:
        mask: (H, W) bool.

    Returns:
        ``{"size": [H, W], "counts": bytes}``, as pycocotools encodes it.
    """
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return encode_crop(y, x, mask[y : y + height, x : x + width].T, mask.shape)
