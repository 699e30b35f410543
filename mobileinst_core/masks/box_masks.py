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

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import cv2
import numpy as np

from mobileinst_core.scratch import Scratch

from .crop_rle import encode_crop
from .resize import bilinear_resize, resize_rows, sigmoid

__all__ = ["BoxMasks", "MaskCrop", "PastedMasks"]

# Rows of the result that are made with one small matrix, as most of a band matrix is zero.
_BLOCK = 16
# Bounds of probabilities are taken this much wider than what rounding does to them.
_TOLERANCE = 1e-4
# In place of no number: no mean with it is above a threshold.
_NEVER = -1e6

_scratch = Scratch()


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
        masks: (m, H, W) bool; or, if they were to be encoded, a list of m RLEs with text.
        boxes: (m, 4) float32, tight around them: x0, y0, x1, y1.
        quality: (m,) float32, the mean probability of their pixels; 1 if it was not asked for.
    """

    shown: np.ndarray
    masks: np.ndarray | list[dict[str, Any]]
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
        self._tolerance = _TOLERANCE
        self._threshold = threshold
        self._stride = stride
        self._upsampling = upsampling
        self._logits = logits = np.ascontiguousarray(mask_logits, np.float32)
        if resize_logits:
            with np.errstate(divide="ignore"):
                self._threshold = float(np.log(threshold) - np.log1p(-np.float64(threshold)))
        with np.errstate(invalid="ignore", over="ignore"):
            # What is no number may spread over the whole mask: such masks have no box.
            self._is_finite = np.isfinite(logits.sum((1, 2)))
        if resize_logits:
            self._tolerance *= max(1.0, float(np.abs(logits[self._is_finite]).max(initial=0)))
        # No row or column of the probabilities has a larger one than these.
        self._largest = tuple(self._bounds(axis) for axis in (2, 1))
        # Rows of the probabilities around a row that a row of the result may also depend on.
        margin = 1 - (-upsampling // stride)
        self._windows = list(zip(*(self._lit(x, margin) for x in self._largest), strict=True))
        self._made: dict[int, _Part] = {}

    def quality(self) -> np.ndarray:
        """The score of each mask: the mean probability of its foreground, 0 without one.

        Returns:
            (N,), float32.
        """
        values = np.zeros(len(self._logits), np.float32)
        for number in range(len(values)):
            if (window := self._window(number)) is None:
                continue
            foreground = window.values > self._threshold
            values[number] = self._mean_probability(window.values, foreground)
        return values

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
        # Most pixels are written once, below: zeros would be a second pass over all.
        masks = np.empty((0 if encode else len(numbers), *output_size), dtype=bool)
        shown, rles, boxes, quality = [], [], [], []
        parts = self._parts(numbers, image_size, output_size, by_column=False)
        for place, part in enumerate(parts):
            if part is None:
                continue
            top, left, values = part
            height, width = values.shape
            if encode:
                pixels = values > self._threshold
            else:
                pixels = _clear_around(masks[len(shown)], top, left, height, width)
                np.greater(values, self._threshold, out=pixels)
            x, y, box_width, box_height = cv2.boundingRect(pixels.view(np.uint8))
            if box_width == 0:
                continue
            if encode:
                columns = pixels[y : y + box_height, x : x + box_width].T
                rle = encode_crop(top + y, left + x, columns, output_size)
                rles.append({**rle, "counts": rle["counts"].decode("ascii")})
            shown.append(place)
            x, y = left + x, top + y
            boxes.append((x, y, x + box_width, y + box_height))
            quality.append(self._mean_probability(values, pixels) if with_quality else 1)
        return PastedMasks(
            np.array(shown, dtype=np.int64),
            rles if encode else masks[: len(shown)],
            np.array(boxes, dtype=np.float32).reshape(-1, 4),
            np.array(quality, dtype=np.float32),
        )

    def crops(
        self, numbers: np.ndarray, image_size: tuple[int, int], output_size: tuple[int, int]
    ) -> Iterator[MaskCrop | None]:
        """Masks one by one, for RLE; nothing of the size of the image is made.

        Args:
            numbers: (n,) int64, which masks.
            image_size: (H, W) of the image inside the padded input.
            output_size: (H, W) of the original image.

        Yields:
            For each of them its crop, or None if it has no pixel there.
        """
        for part in self._parts(numbers, image_size, output_size, by_column=True):
            pixels = None if part is None else part.values > self._threshold
            yield MaskCrop(part.top, part.left, pixels) if np.any(pixels) else None

    def _mean_probability(self, values: np.ndarray, pixels: np.ndarray) -> float:
        """The mean probability of some pixels of a part."""
        probs = sigmoid(values) if self._resizes_logits else values
        return cv2.mean(probs, np.ascontiguousarray(pixels).view(np.uint8))[0]

    def _bounds(self, axis: int) -> np.ndarray:
        """Bounds of the probabilities in each row (``axis`` 2) or column (1) of each mask."""
        count, height, width = self._logits.shape
        if count == 0:
            return np.empty((0, self._upsampling * (height, width)[2 - axis]), np.float32)
        if axis == 2:  # several times as fast along columns
            largest = cv2.transpose(self._logits.reshape(-1, width)).max(0).reshape(-1, height)
        else:
            largest = self._logits.max(1)
        largest[~self._is_finite] = 0
        upsampled = cv2.resize(largest, None, None, self._upsampling, 1)
        bounds, top = (upsampled, -_NEVER) if self._resizes_logits else (sigmoid(upsampled), 1)
        bounds[~self._is_finite] = top
        return bounds

    def _lit(self, bounds: np.ndarray, margin: int = 0) -> list[tuple[int, int]]:
        """First row that may be above the threshold, and the one after the last; 0, 0 for none."""
        length = bounds.shape[1]
        is_lit = bounds > self._threshold - self._tolerance
        first = np.maximum(is_lit.argmax(1) - margin, 0)
        end = np.minimum(length - is_lit[:, ::-1].argmax(1) + margin, length)
        is_any = is_lit.any(1)
        return list(zip((first * is_any).tolist(), (end * is_any).tolist(), strict=True))

    def _window(self, number: int) -> _Part | None:
        """The probabilities around the foreground of a mask; None if it has none."""
        (top, bottom), (left, right) = self._windows[number]
        if bottom == 0 or right == 0:
            return None
        if number not in self._made:
            height, width = self._sources(top, bottom), self._sources(left, right)
            values = self._values(self._logits[number, height, width], self._is_finite[number])
            first_row = height.start * self._upsampling
            first_column = width.start * self._upsampling
            values = values[top - first_row : bottom - first_row]
            values = np.ascontiguousarray(values[:, left - first_column : right - first_column])
            self._made[number] = _Part(top, left, values)
        return self._made[number]

    def _values(self, logits: np.ndarray, is_finite: bool) -> np.ndarray:
        """What is resized, from logits."""
        if is_finite:
            values = cv2.resize(logits, None, None, self._upsampling, self._upsampling)
            return values if self._resizes_logits else sigmoid(values, out=values)
        values = bilinear_resize(logits, tuple(side * self._upsampling for side in logits.shape))
        if not self._resizes_logits:
            return np.nan_to_num(sigmoid(values), nan=_NEVER)
        return np.nan_to_num(values, nan=_NEVER, posinf=-_NEVER, neginf=_NEVER)

    def _sources(self, first: int, end: int) -> slice:
        """The rows of the logits that rows ``first`` to ``end`` of the probabilities depend on."""
        double = 2 * self._upsampling
        # The neighbours of row i are those around (i + 0.5) / upsampling - 0.5.
        before, last = ((2 * row + 1 - self._upsampling) // double for row in (first, end - 1))
        return slice(max(before, 0), last + 2)

    def _parts(
        self,
        numbers: np.ndarray,
        image_size: tuple[int, int],
        output_size: tuple[int, int],
        *,
        by_column: bool,
    ) -> Iterator[_Part | None]:
        """Probabilities in the original image around the foreground of masks.

        They are transposed if they are wanted ``by_column``, and valid until the next one.
        """
        rows, columns = (
            _axis(*lengths, self._stride, self._upsampling)
            for lengths in zip(self._logits.shape[1:], image_size, output_size, strict=True)
        )
        # Without a resize of the input one of the three steps is left.
        factor, rest = divmod(self._stride, self._upsampling)
        is_direct = tuple(image_size) == tuple(output_size) and rest == 0
        heights = self._lit(rows.resize_all(self._largest[0]))
        widths = self._lit(columns.resize_all(self._largest[1]))
        for number in numbers.tolist():
            (top, bottom), (left, right) = heights[number], widths[number]
            if bottom == 0 or right == 0 or (window := self._window(number)) is None:
                yield None
            elif is_direct:
                yield _enlarge(window, factor, heights[number], widths[number], by_column)
            elif by_column:
                values = _transpose(rows.resize(window.values, window.top, top, bottom))
                yield _Part(top, left, columns.resize(values, window.left, left, right))
            else:
                values = _transpose(window.values)
                values = _transpose(columns.resize(values, window.left, left, right))
                yield _Part(top, left, rows.resize(values, window.top, top, bottom))


def _clear_around(mask: np.ndarray, top: int, left: int, height: int, width: int) -> np.ndarray:
    """A part of a mask, outside of which it is made empty."""
    rows = mask[top : top + height]
    mask[:top] = mask[top + height :] = False
    rows[:, :left] = rows[:, left + width :] = False
    return rows[:, left : left + width]


def _enlarge(
    window: _Part, factor: int, rows: tuple[int, int], columns: tuple[int, int], by_column: bool
) -> _Part:
    """Some rows and columns of the probabilities, each side of which grows by a whole factor."""
    starts, slices, needed = (window.top, window.left), [], []
    for start, (first, end) in zip(starts, (rows, columns), strict=True):
        begin = max(first // factor - 1 - start, 0)
        needed.append(slice(begin, -(-end // factor) + 1 - start))
        slices.append(slice(first - factor * (start + begin), end - factor * (start + begin)))
    values = window.values[tuple(needed)]
    if by_column:
        values, slices = _transpose(values), slices[::-1]
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
        """All of the original image for (N, rows of the probabilities): (N, rows)."""
        return self.resize(vectors.T, 0, 0, self._length).T

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
