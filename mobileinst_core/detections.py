"""What is found in an image, with masks as the parts that hold their foreground."""

from collections.abc import Iterator
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np

__all__ = ["Detections", "MaskCrop", "MaskCrops"]


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


class Detections:
    """Instances of an image or of a frame, best first.

    Attributes:
        boxes: (n, 4) float32, tight around the masks: x0, y0, x1, y1 in pixels.
        scores: (n,) float32, in [0, 1]; NaN where there is none, as of ground truth.
        classes: (n,) int64, class indices from 0.
        ids: (n,) int64, identities from 1 where frames are tracked, else None.
        periods: (n,) int64, frames so far that showed the identity, where frames are tracked.
        image_size: (H, W) of the image.
    """

    def __init__(
        self,
        *,
        masks: np.ndarray | MaskCrops | list[dict[str, Any]],
        boxes: np.ndarray,
        scores: np.ndarray,
        classes: np.ndarray,
        ids: np.ndarray | None = None,
        periods: np.ndarray | None = None,
        image_size: tuple[int, int] | None = None,
    ) -> None:
        """Put together what belongs to the same instances.

        Args:
            masks: (n, H, W) bool, or crops of such masks, or RLEs with text.
            boxes: see above.
            scores: see above.
            classes: see above.
            ids: see above.
            periods: see above.
            image_size: needed with RLEs, which may be none.
        """
        self._masks = masks
        self.boxes = boxes
        self.scores = scores
        self.classes = classes
        self.ids = ids
        self.periods = periods
        if image_size is None:
            image_size = masks.size if isinstance(masks, MaskCrops) else masks.shape[1:]
        self.image_size = tuple(image_size)

    @cached_property
    def masks(self) -> np.ndarray | list[dict[str, Any]]:
        """(n, H, W) bool; or a list of n RLEs with text, where those were asked for."""
        return self._masks.full() if isinstance(self._masks, MaskCrops) else self._masks

    @cached_property
    def crops(self) -> MaskCrops:
        """The masks in the little memory that their foreground takes; not of RLEs."""
        return self._masks if isinstance(self._masks, MaskCrops) else MaskCrops.of(self._masks)

    def __len__(self) -> int:
        return len(self.scores)

    def __repr__(self) -> str:
        """What a line can hold: everything but masks and boxes."""
        height, width = self.image_size
        tracked = "" if self.ids is None else f"ids={self.ids.tolist()}, "
        scores = [round(float(score), 3) for score in self.scores]
        return (
            f"Detections({len(self)} in {width}x{height} pixels, {tracked}"
            f"classes={self.classes.tolist()}, scores={scores})"
        )

    def __getitem__(self, index: int | np.ndarray | slice) -> "Detections":
        """Some of the instances, by numbers, by a slice or by booleans; one, by its number."""
        if isinstance(index, int | np.integer):
            index = np.arange(len(self))[[index]]
        optional = {"ids": self.ids, "periods": self.periods}
        masks = self._masks
        if isinstance(masks, list):
            masks = [masks[number] for number in np.arange(len(masks))[index]]
        else:
            masks = masks[index]
        return Detections(
            masks=masks,
            boxes=self.boxes[index],
            scores=self.scores[index],
            classes=self.classes[index],
            image_size=self.image_size,
            **{name: None if x is None else x[index] for name, x in optional.items()},
        )
