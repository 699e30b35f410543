"""From mask logits to masks of the original size, each made around its own foreground.

By definition a mask is made in three bilinear steps: the logits are upsampled by a small factor,
their probabilities are resized to the padded input and cropped to the image, and that is resized to
the original size, where the mask is what exceeds a threshold. After the sigmoid all of that is
separable and linear: the mask is where ``R P C`` is above the threshold, with probabilities ``P``
and band matrices ``R`` and ``C`` of at most three neighbours in a row. Here the same product is
taken of the part of ``P`` that can get there.

Some systems resize the logits themselves and take the sigmoid at the end. The mask is where
``R L C`` is above the logit of the threshold then.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache, partial
from typing import Any, NamedTuple

import cv2
import numpy as np

from mobileinst_core.arrays import Scratch
from mobileinst_core.detections import MaskCrop, MaskCrops

from .resize import bilinear_resize, logit, resize_rows, sigmoid
from .rle import encode_crop

__all__ = ["BoxMasks", "PastedMasks", "foreground_boxes"]

# Rows of the result that are made with one small matrix, as most of a band matrix is zero.
_BLOCK = 16
# Foreground is looked for from below the threshold, by more than what rounding does.
_TOLERANCE = 1e-4
# In place of no number: no mean with it is above a threshold.
_NEVER = -1e6

_scratch = Scratch()


class PastedMasks(NamedTuple):
    """Masks in the original image, without those that have no pixel there.

    Attributes:
        shown: (m,) int64, numbers of the masks among those that were asked for.
        masks: m crops; or, if they were to be encoded, a list of m RLEs with text.
        boxes: (m, 4) float32, tight around them: x0, y0, x1, y1.
        quality: (m,) float32, the mean probability of their pixels; 1 if it was not asked for.
    """

    shown: np.ndarray
    masks: MaskCrops | list[dict[str, Any]]
    boxes: np.ndarray
    quality: np.ndarray


class _Part(NamedTuple):
    """Probabilities, or logits where those are resized, from a row and a column on."""

    top: int
    left: int
    values: np.ndarray


class BoxMasks:
    """Masks from their logits. They are made when they are asked for."""

    def __init__(
        self,
        mask_logits: np.ndarray,
        threshold: float,
        *,
        stride: int,
        upsampling: int = 1,
        resize_logits: bool = False,
    ) -> None:
        """Find where the foreground is.

        Args:
            mask_logits: (N, h, w), of the padded input.
            threshold: mask probability above which a pixel belongs to a mask.
            stride: pixels of the padded input per pixel of the logits.
            upsampling: factor by which the logits are resized before the sigmoid.
            resize_logits: take the sigmoid at the original size, as Mask2Former does.
        """
        self._resizes_logits = resize_logits
        self._threshold = logit(threshold) if resize_logits else threshold
        self._stride = stride
        self._upsampling = upsampling
        self._logits = logits = np.ascontiguousarray(mask_logits, np.float32)
        self._not_finite = _not_finite(logits)
        lowest = logit(threshold - _TOLERANCE)
        if resize_logits:
            finite = np.delete(logits, self._not_finite, axis=0)
            lowest = self._threshold - _TOLERANCE * float(np.abs(finite).max(initial=1))
        # Of logits near which a probability can exceed the threshold.
        self._lit = _boxes_above(logits, lowest, self._not_finite)
        self._made: dict[int, _Part] = {}

    def quality(self) -> np.ndarray:
        """The score of each mask: the mean probability of its foreground, 0 without one.

        Returns:
            (N,), float32.
        """
        quality = np.zeros(len(self._logits), np.float32)
        self._make(range(len(quality)))
        for number, (_, _, values) in self._made.items():
            quality[number] = self._mean_probability(values, values > self._threshold)
        return quality

    def paste(
        self,
        numbers: np.ndarray,
        image_size: tuple[int, int],
        output_size: tuple[int, int],
        *,
        with_quality: bool = False,
        encode: bool = False,
    ) -> PastedMasks:
        """Masks in the original image.

        Args:
            numbers: (n,) int64, which masks.
            image_size: (H, W) of the image inside the padded input.
            output_size: (H, W) of the original image.
            with_quality: take their mean probability, too, in the original image.
            encode: give RLEs; nothing of the size of the image is made.

        Returns:
            Those of them that have a pixel there, with tight boxes.
        """
        shown, masks, boxes, quality = [], [], [], []
        for place, part in enumerate(self._parts(numbers.tolist(), image_size, output_size)):
            if part is None:
                continue
            top, left, values = part
            pixels = values > self._threshold
            crop = MaskCrop.of(pixels, top, left)
            if crop.pixels.size == 0:
                continue
            shown.append(place)
            masks.append(encode_crop(*crop, output_size) if encode else crop)
            boxes.append(crop.box)
            quality.append(self._mean_probability(values, pixels) if with_quality else 1)
        return PastedMasks(
            np.array(shown, dtype=np.int64),
            masks if encode else MaskCrops(masks, output_size),
            np.array(boxes, dtype=np.float32).reshape(-1, 4),
            np.array(quality, dtype=np.float32),
        )

    def _mean_probability(self, values: np.ndarray, pixels: np.ndarray) -> float:
        """The mean probability of some pixels of a part."""
        probs = sigmoid(values) if self._resizes_logits else values
        return cv2.mean(probs, np.ascontiguousarray(pixels).view(np.uint8))[0]

    def _make(self, numbers: Iterable[int]) -> None:
        """Make the probabilities around the foreground of masks, where there is any.

        What is there for interpolation, and what is wrong at a cut edge, is below the threshold.
        """
        height, width = self._logits.shape[1:]
        factor = self._upsampling
        # Rows of the probabilities around a row that a row of the result may also depend on.
        margin = 1 - (-factor // self._stride)
        margin = 1 - (-margin // factor)  # of logits
        places, length = [], 0
        for number in numbers:
            x, y, columns, rows = self._lit[number]
            if columns == 0 or number in self._made:
                continue
            top, left = max(y - margin, 0), max(x - margin, 0)
            bottom, right = min(y + rows + margin, height), min(x + columns + margin, width)
            size = factor * (bottom - top), factor * (right - left)
            places.append((number, np.s_[top:bottom, left:right], size, length))
            length += size[0] * size[1]
        # One array, as a function of many small ones takes longer to call than to compute.
        together = np.empty(length, np.float32)
        for number, window, size, start in places:
            logits = self._logits[number][window]
            values = together[start : start + size[0] * size[1]].reshape(size)
            if number in self._not_finite:
                values[:] = bilinear_resize(logits, size)
            else:
                cv2.resize(logits, size[::-1], values)
            top, left = (factor * axis.start for axis in window)
            self._made[number] = _Part(top, left, values)
        if not self._resizes_logits:
            sigmoid(together, out=together)
        if self._not_finite:
            np.nan_to_num(together, copy=False, nan=_NEVER, posinf=-_NEVER, neginf=_NEVER)

    def _parts(
        self,
        numbers: Sequence[int],
        image_size: tuple[int, int],
        output_size: tuple[int, int],
    ) -> Iterator[_Part | None]:
        """Probabilities in the original image around the foreground of masks.

        They are valid until the next one.
        """
        self._make(numbers)
        # Without a resize of the input one of the three steps is left.
        factor, rest = divmod(self._stride, self._upsampling)
        is_direct = tuple(image_size) == tuple(output_size) and rest == 0
        if is_direct:
            reach = [partial(_enlarged, factor=factor, length=side) for side in output_size]
        else:
            rows, columns = (
                _axis(*lengths, self._stride, self._upsampling)
                for lengths in zip(self._logits.shape[1:], image_size, output_size, strict=True)
            )
            reach = [rows.reached, columns.reached]
        upsampled = [self._upsampling * side for side in self._logits.shape[1:]]
        for number in numbers:
            if (window := self._made.get(number)) is None:
                yield None
                continue
            x, y, width, height = self._lit[number]
            top, bottom = reach[0](*_enlarged(y, y + height, self._upsampling, upsampled[0]))
            left, right = reach[1](*_enlarged(x, x + width, self._upsampling, upsampled[1]))
            if top >= bottom or left >= right:
                yield None
            elif is_direct:
                yield _enlarge(window, factor, (top, bottom), (left, right))
            else:
                values = _transpose(window.values)
                values = _transpose(columns.resize(values, window.left, left, right))
                yield _Part(top, left, rows.resize(values, window.top, top, bottom))


def foreground_boxes(logits: np.ndarray, lowest: float) -> list[tuple[int, int, int, int]]:
    """The part of each mask with foreground.

    Args:
        logits: (N, h, w) float32. What is no number may spread over the whole mask.
        lowest: a logit up to which there is none.

    Returns:
        N boxes x, y, width, height; with a width of 0 where there is none.
    """
    return _boxes_above(logits, lowest, _not_finite(logits))


def _boxes_above(
    logits: np.ndarray, lowest: float, not_finite: Sequence[int]
) -> list[tuple[int, int, int, int]]:
    boxes = [cv2.boundingRect(mask) for mask in (logits > lowest).view(np.uint8)]
    for number in not_finite:
        boxes[number] = (0, 0, *logits.shape[:0:-1])
    return boxes


def _not_finite(logits: np.ndarray) -> list[int]:
    """Numbers of the masks that hold what is no number."""
    is_finite = np.isfinite(logits)
    return [] if is_finite.all() else np.flatnonzero(~is_finite.all((1, 2))).tolist()


def _enlarged(first: int, end: int, factor: int, length: int) -> tuple[int, int]:
    """The rows that depend on some of a map, on one of a length that is larger by a factor."""
    around = factor // 2
    return max(factor * first - around, 0), min(factor * end + around, length)


def _enlarge(window: _Part, factor: int, rows: tuple[int, int], columns: tuple[int, int]) -> _Part:
    """Some rows and columns of the probabilities, each side of which grows by a whole factor."""
    starts, slices, needed = (window.top, window.left), [], []
    for start, (first, end) in zip(starts, (rows, columns), strict=True):
        begin = max(first // factor - 1 - start, 0)
        needed.append(slice(begin, -(-end // factor) + 1 - start))
        slices.append(slice(first - factor * (start + begin), end - factor * (start + begin)))
    values = window.values[tuple(needed)]
    size = tuple(side * factor for side in values.shape)
    values = cv2.resize(values, size[::-1], _scratch.take("resized", size, np.float32))
    return _Part(rows[0], columns[0], values[tuple(slices)])


def _transpose(values: np.ndarray) -> np.ndarray:
    return cv2.transpose(values, _scratch.take("transposed", values.shape[::-1], np.float32))


class _Axis:
    """The way from the rows of the probabilities to those of the original image, or of the columns.

    It is a band matrix, kept as one small matrix for each block of its rows.
    """

    def __init__(
        self, length: int, image_length: int, output_length: int, stride: int, upsampling: int
    ) -> None:
        """Take the lengths of the logits, of the image in the input and of the original."""
        padded_length, length = length * stride, length * upsampling
        matrix = resize_rows(np.eye(length, dtype=np.float32), padded_length)[:image_length]
        matrix = resize_rows(matrix, output_length)

        is_used = matrix > 0
        starts = is_used.argmax(axis=1)
        ends = length - is_used[:, ::-1].argmax(axis=1)
        self._starts, self._ends = starts.tolist(), ends.tolist()
        starts = starts[::_BLOCK]
        ends = ends[np.minimum(np.arange(len(starts)) * _BLOCK + _BLOCK, output_length) - 1]
        neighbours = np.arange((ends - starts).max())
        self._neighbours = np.minimum(starts, length - len(neighbours))[:, None] + neighbours
        padded = np.zeros((len(starts) * _BLOCK, length), np.float32)
        padded[:output_length] = matrix
        self._weights = np.take_along_axis(
            padded.reshape(len(starts), _BLOCK, length), self._neighbours[:, None], axis=2
        )

    def reached(self, first: int, end: int) -> tuple[int, int]:
        """The rows of the result that depend on some of the probabilities."""
        return bisect_right(self._ends, first), bisect_left(self._starts, end)

    def resize(self, values: np.ndarray, origin: int, first: int, end: int) -> np.ndarray:
        """Some rows of the result.

        Args:
            values: (rows, columns), the rows of the probabilities from ``origin`` on.
            origin: see there.
            first: first row of the result.
            end: row after the last.

        Returns:
            (end - first, columns), valid until the next call.
        """
        begin, stop = first // _BLOCK, (end - 1) // _BLOCK + 1
        blocks, width = stop - begin, values.shape[1]
        rows = self._rows(begin, stop, origin)
        taken = _scratch.take("taken", (len(rows), width), np.float32)
        values.take(rows, axis=0, mode="clip", out=taken)
        taken = taken.reshape(blocks, self._neighbours.shape[1], width)
        result = _scratch.take("resized", (blocks, _BLOCK, width), np.float32)
        np.matmul(self._weights[begin:stop], taken, out=result)
        result = result.reshape((stop - begin) * _BLOCK, values.shape[1])
        return result[first - begin * _BLOCK : end - begin * _BLOCK]

    def _rows(self, begin: int, stop: int, origin: int) -> np.ndarray:
        """What blocks need, from ``origin`` on; beyond a part it only counts for other rows."""
        return (self._neighbours[begin:stop] - origin).ravel()


# Images of a data set have few sizes, a stream has one.
_axis = lru_cache(maxsize=64)(_Axis)
