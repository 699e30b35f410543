"""The published masks at a fraction of the work: each is made around its own foreground.

The published pipeline resizes every mask to the padded input, crops it and resizes it again. All
of that is separable, and linear in the probabilities at stride 4: the mask is where ``R P C`` is
above the threshold, with band matrices ``R`` and ``C`` of at most three neighbours in a row. Here
the same product is taken of the part of ``P`` that can get there.
"""

from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import cv2
import numpy as np
import torch

from .layers import bilinear_resize
from .masks import (
    LOGIT_UPSAMPLING,
    MASK_FEATURE_STRIDE,
    MaskCrop,
    PastedMasks,
    upsample_mask_logits,
)

__all__ = ["BoxMasks"]

# Rows of the result that are made with one small matrix, as most of a band matrix is zero.
_BLOCK = 16
# A row of the result depends on three neighbours at stride 4.
_MARGIN = 2
# Bounds of probabilities are taken this much wider than what rounding does to them.
_TOLERANCE = 1e-4
# In place of no number: no mean with it is above a threshold.
_NEVER = -1e6


class _Part(NamedTuple):
    """Probabilities from a row and a column on."""

    top: int
    left: int
    probs: np.ndarray


class BoxMasks:
    """The masks of the published pipeline, up to rounding, each made around its own foreground.

    The work is done on the CPU, wherever the logits are.
    """

    def __init__(self, mask_logits: torch.Tensor, threshold: float) -> None:
        """Find where the foreground is.

        Args:
            mask_logits: (N, h, w), at stride 8 of the padded input.
            threshold: mask probability above which a pixel belongs to a mask.
        """
        logits = mask_logits.detach().float().cpu().contiguous()
        self._device = mask_logits.device
        self._threshold = threshold
        self._logits = logits.numpy()
        # What is no number may spread in the published pipeline: such masks have no box.
        self._is_finite = logits.sum((1, 2)).isfinite().numpy()
        # No row or column at stride 4 has a larger probability than these, (N, 2h) and (N, 2w).
        self._largest = tuple(
            _bounds(logits.amax(dim).numpy(), self._is_finite[:, None]) for dim in (2, 1)
        )
        self._windows = list(zip(*(self._lit(x, _MARGIN) for x in self._largest), strict=True))
        self._probs: dict[int, _Part] = {}

    def quality(self) -> torch.Tensor:
        """The :func:`maskness` of each mask, (N,)."""
        values = np.zeros(len(self._logits), np.float32)
        for number in range(len(values)):
            if (window := self._window(number)) is None:
                continue
            foreground = window.probs > self._threshold
            values[number] = cv2.mean(window.probs, foreground.view(np.uint8))[0]
        return torch.from_numpy(values).to(self._device)

    def paste(
        self, numbers: torch.Tensor, image_size: tuple[int, int], output_size: tuple[int, int]
    ) -> PastedMasks:
        """Masks in the original image.

        Args:
            numbers: (n,) int64, which masks.
            image_size: (H, W) of the image inside the padded input.
            output_size: (H, W) of the original image.

        Returns:
            Those of them that have a pixel there, with tight boxes, where the logits were.
        """
        masks = np.zeros((len(numbers), *output_size), dtype=bool)
        shown, boxes = [], []
        parts = self._parts(numbers, image_size, output_size, by_column=False)
        for place, part in enumerate(parts):
            if part is None:
                continue
            top, left, probs = part
            height, width = probs.shape
            mask = masks[len(shown)]
            pixels = mask[top : top + height, left : left + width]
            np.greater(probs, self._threshold, out=pixels)
            x, y, box_width, box_height = cv2.boundingRect(pixels.view(np.uint8))
            if box_width == 0:
                continue
            shown.append(place)
            x, y = left + x, top + y
            boxes.append((x, y, x + box_width, y + box_height))
        arrays = (
            np.array(shown, dtype=np.int64),
            masks[: len(shown)],
            np.array(boxes, dtype=np.float32).reshape(-1, 4),
        )
        return PastedMasks(*(torch.from_numpy(x).to(self._device) for x in arrays))

    def crops(
        self, numbers: torch.Tensor, image_size: tuple[int, int], output_size: tuple[int, int]
    ) -> Iterator[MaskCrop | None]:
        """Masks one by one, for run-length codes; nothing of the size of the image is made.

        Args:
            numbers: (n,) int64, which masks.
            image_size: (H, W) of the image inside the padded input.
            output_size: (H, W) of the original image.

        Yields:
            For each of them its crop, or None if it has no pixel there.
        """
        for part in self._parts(numbers, image_size, output_size, by_column=True):
            pixels = None if part is None else part.probs > self._threshold
            yield MaskCrop(part.top, part.left, pixels) if np.any(pixels) else None

    def _lit(self, bounds: np.ndarray, margin: int = 0) -> list[tuple[int, int]]:
        """First row that may be above the threshold, and the one after the last; 0, 0 for none."""
        length = bounds.shape[1]
        is_lit = bounds > self._threshold - _TOLERANCE
        first = np.maximum(is_lit.argmax(1) - margin, 0)
        end = np.minimum(length - is_lit[:, ::-1].argmax(1) + margin, length)
        is_any = is_lit.any(1)
        return list(zip((first * is_any).tolist(), (end * is_any).tolist(), strict=True))

    def _window(self, number: int) -> _Part | None:
        """The probabilities at stride 4 around the foreground of a mask; None if it has none."""
        (top, bottom), (left, right) = self._windows[number]
        if bottom == 0 or right == 0:
            return None
        if number not in self._probs:
            height, first_row = _sources(top, bottom)
            width, first_column = _sources(left, right)
            logits = self._logits[number, height, width]
            if self._is_finite[number]:
                upsampled = cv2.resize(logits, None, None, LOGIT_UPSAMPLING, LOGIT_UPSAMPLING)
                probs = torch.from_numpy(upsampled).sigmoid_()
            else:
                upsampled = upsample_mask_logits(torch.from_numpy(logits)[None, None])[0, 0]
                probs = upsampled.sigmoid().nan_to_num(nan=_NEVER)
            probs = probs.numpy()[top - first_row : bottom - first_row]
            probs = np.ascontiguousarray(probs[:, left - first_column : right - first_column])
            self._probs[number] = _Part(top, left, probs)
        return self._probs[number]

    def _parts(
        self,
        numbers: torch.Tensor,
        image_size: tuple[int, int],
        output_size: tuple[int, int],
        *,
        by_column: bool,
    ) -> Iterator[_Part | None]:
        """Probabilities in the original image around the foreground of masks.

        They are transposed if they are wanted ``by_column``.
        """
        rows, columns = (
            _axis(*lengths)
            for lengths in zip(self._logits.shape[1:], image_size, output_size, strict=True)
        )
        heights = self._lit(rows.resize_all(self._largest[0]))
        widths = self._lit(columns.resize_all(self._largest[1]))
        for number in numbers.tolist():
            (top, bottom), (left, right) = heights[number], widths[number]
            if bottom == 0 or right == 0 or (window := self._window(number)) is None:
                yield None
            elif by_column:
                probs = cv2.transpose(rows.resize(window.probs, window.top, top, bottom))
                yield _Part(top, left, columns.resize(probs, window.left, left, right))
            else:
                probs = cv2.transpose(window.probs)
                probs = cv2.transpose(columns.resize(probs, window.left, left, right))
                yield _Part(top, left, rows.resize(probs, window.top, top, bottom))


def _sources(first: int, end: int) -> tuple[slice, int]:
    """The rows at stride 8 behind some at stride 4, and where the first of them begins there.

    There is one more on each side, as the outermost ones are not upsampled as in the whole.
    """
    start = max(first - 1, 0) // LOGIT_UPSAMPLING
    return slice(start, end // LOGIT_UPSAMPLING + 1), start * LOGIT_UPSAMPLING


class _Axis:
    """The way from the rows at stride 4 to those of the original image, or of the columns.

    It is a band matrix, kept as one small matrix for each block of its rows.
    """

    def __init__(self, length: int, image_length: int, output_length: int) -> None:
        """Take the lengths of the map at stride 8, of the image in the input, of the original."""
        length *= LOGIT_UPSAMPLING
        stride = MASK_FEATURE_STRIDE // LOGIT_UPSAMPLING
        # What paste_masks does to every unit vector.
        matrix = torch.eye(length)[None, None]
        matrix = bilinear_resize(matrix, (length * stride, length))[:, :, :image_length]
        matrix = bilinear_resize(matrix, (output_length, length))[0, 0].numpy()

        self._length = output_length
        is_used = matrix > 0
        starts = is_used.argmax(axis=1)[::_BLOCK]
        ends = length - is_used[:, ::-1].argmax(axis=1)
        ends = ends[np.minimum(np.arange(len(starts)) * _BLOCK + _BLOCK, output_length) - 1]
        neighbours = np.arange((ends - starts).max())
        self._neighbours = np.minimum(starts, length - len(neighbours))[:, None] + neighbours
        padded = np.zeros((len(starts) * _BLOCK, length), np.float32)
        padded[:output_length] = matrix
        self._weights = np.take_along_axis(
            padded.reshape(len(starts), _BLOCK, length), self._neighbours[:, None], axis=2
        )

    def resize_all(self, vectors: np.ndarray) -> np.ndarray:
        """All of the original image for (N, rows at stride 4): (N, rows)."""
        return self.resize(vectors.T, 0, 0, self._length).T

    def resize(self, values: np.ndarray, origin: int, first: int, end: int) -> np.ndarray:
        """Some rows of the result.

        Args:
            values: (rows, columns), the rows at stride 4 from ``origin`` on.
            origin: see there.
            first: first row of the result.
            end: row after the last.

        Returns:
            (end - first, columns).
        """
        begin, stop = first // _BLOCK, (end - 1) // _BLOCK + 1
        taken = values.take(self._rows(begin, stop, origin), axis=0, mode="clip")
        taken = taken.reshape(stop - begin, self._neighbours.shape[1], values.shape[1])
        result = self._weights[begin:stop] @ taken
        result = result.reshape((stop - begin) * _BLOCK, values.shape[1])
        return result[first - begin * _BLOCK : end - begin * _BLOCK]

    def _rows(self, begin: int, stop: int, origin: int) -> np.ndarray:
        """What blocks need, from ``origin`` on; beyond a part it only counts for other rows."""
        return (self._neighbours[begin:stop] - origin).ravel()


# Images of a data set have few sizes, a stream has one.
_axis = lru_cache(maxsize=64)(_Axis)


def _bounds(largest: np.ndarray, is_finite: np.ndarray) -> np.ndarray:
    """From the largest logit of each row at stride 8 to bounds of probabilities at stride 4."""
    if len(largest) == 0:
        return np.empty((0, LOGIT_UPSAMPLING * largest.shape[1]), np.float32)
    upsampled = cv2.resize(np.where(is_finite, largest, 0), None, None, LOGIT_UPSAMPLING, 1)
    return np.where(is_finite, torch.from_numpy(upsampled).sigmoid(), np.float32(1))
