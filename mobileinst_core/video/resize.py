"""Pillow's antialiased bilinear resize, faster where the sides have simple ratios.

Pillow computes each pass, along rows and columns, with weights in units of 2^-22, and rounds to
bytes after each. Where source and result have a simple ratio, as 1280 and 640 pixels, all but the
pixels at the borders have one of few lists of weights, and these are fractions of small integers.
Then 16 bits hold the sums, a pass is a few operations on whole rows, and the bytes are the same.
"""

from functools import lru_cache
from itertools import chain
from math import gcd
from typing import NamedTuple

import cv2
import numpy as np
from PIL import Image

from mobileinst_core.arrays import Scratch

__all__ = ["resize_image"]

# Pillow's precision of weights, in bits.
_BITS = 22
# Elements that are computed together: what stays in a core's cache.
_BLOCK = 1 << 16
# Columns below which an image is turned: rows so short take longer to begin than to compute.
_NARROW = 8
# Lists of weights at most. With more, Pillow is faster.
_MAX_GROUPS = 24
# Channels, which columns become here, that every version of OpenCV can split.
_MAX_STEP = 128

_scratch = Scratch()


def resize_image(
    image: np.ndarray, size: tuple[int, int], *, reverse_channels: bool = False
) -> np.ndarray:
    """Resize an image as ``PIL.Image.resize`` does with ``BILINEAR``, to the same bytes.

    Args:
        image: (H, W, 3), uint8.
        size: (h, w).
        reverse_channels: from BGR to RGB, or back.

    Returns:
        (3, h, w), uint8, contiguous: one plane per channel.
    """
    (height, width), (new_height, new_width) = image.shape[:2], size
    axes = _axis(height, new_height), _axis(width, new_width)
    # Pillow from 13 on begins with columns where height loses more than twice what width does.
    rows_first = height * new_width == new_height * width and height <= 2 * width
    if None in axes or not (rows_first or axes[0].is_identity or axes[1].is_identity):
        image = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR))
        axes = [_axis(length, length) for length in size]
    rows, columns = axes
    result = np.empty((3, *size), np.uint8)
    ordered = result[::-1] if reverse_channels else result
    if rows.is_identity and columns.is_identity:
        cv2.split(image, list(ordered))
        return result
    planes = cv2.split(image, list(_scratch.take("planes", (3, height, width), np.uint8)))
    for plane, out in zip(planes, ordered, strict=True):
        if not columns.is_identity:
            shape = (height, new_width)
            passed = out if rows.is_identity else _scratch.take("passed", shape, np.uint8)
            _resize_columns(plane, columns, passed)
            plane = passed
        if not rows.is_identity:
            _resize_rows(plane, rows, out)
    return result


class _Group(NamedTuple):
    """Rows of a result with the same weights, ``(sum(weight * row) + divisor // 2) // divisor``.

    Attributes:
        first: the first of them.
        count: how many there are, ``_Axis.step_out`` apart.
        source: the row of the image that the first weight of the first of them is for.
        offsets: by weight, the rows from ``source`` on that have it.
        divisor: see there.
        dtype: holds the sums.
    """

    first: int
    count: int
    source: int
    offsets: dict[int, list[int]]
    divisor: int
    dtype: type[np.integer]


class _Axis(NamedTuple):
    """The way from the rows of an image to those of a result, or of the columns."""

    step_in: int
    step_out: int
    groups: tuple[_Group, ...]
    is_identity: bool


@lru_cache(maxsize=64)
def _axis(length: int, new_length: int) -> _Axis | None:
    """See :class:`_Axis`; None if Pillow is faster."""
    common = gcd(length, new_length)
    step_in, step_out = length // common, new_length // common
    if step_in == step_out:
        return _Axis(1, 1, (), is_identity=True)
    if step_out > _MAX_GROUPS or step_in > _MAX_STEP:
        return None
    groups = []
    for phase in range(step_out):
        runs: list[list] = []  # first row, count, first row of the image, weights
        for row in range(phase, new_length, step_out):
            source, weights = _weights(row, length, step_in, step_out)
            if runs and runs[-1][3] == weights and runs[-1][2] + step_in * runs[-1][1] == source:
                runs[-1][1] += 1
            else:
                runs.append([row, 1, source, weights])
        groups += [_group(*run) for run in runs]
    is_slow = any(group.dtype is np.int32 and group.count > 2 for group in groups)
    return (
        None
        if is_slow or len(groups) > _MAX_GROUPS
        else _Axis(step_in, step_out, tuple(groups), is_identity=False)
    )


def _weights(row: int, length: int, step_in: int, step_out: int) -> tuple[int, list[int]]:
    """The triangle filter of a row: the first row of the image in it, and weights in proportion."""
    radius = 2 * max(step_in, step_out)  # in units of a half pixel of the result or of the image
    # The distance of row x is step_out * (2 x + 1) - step_in * (2 row + 1).
    centre = step_in * (2 * row + 1) - step_out
    first = max((centre - radius) // (2 * step_out) + 1, 0)
    end = min(-((-centre - radius) // (2 * step_out)), length)
    return first, [radius - abs(2 * step_out * x - centre) for x in range(first, end)]


def _group(first: int, count: int, source: int, weights: list[int]) -> _Group:
    common = gcd(*weights)
    weights = [weight // common for weight in weights]
    total = sum(weights)
    if total & (total - 1) == 0 and total <= 256:
        divisor, dtype = total, np.uint16  # Pillow's weights are exact
    elif total % 2 and total <= 128:
        # No sum is half-way between two bytes; the nearest ones are further from it than the
        # rounding of Pillow's weights can carry them.
        weights, divisor, dtype = [2 * weight for weight in weights], 2 * total, np.uint16
    else:
        weights = [((weight << _BITS + 1) + total) // (2 * total) for weight in weights]
        divisor, dtype = 1 << _BITS, np.int32
    offsets: dict[int, list[int]] = {}
    for offset, weight in enumerate(weights):
        offsets.setdefault(weight, []).append(offset)
    return _Group(first, count, source, offsets, divisor, dtype)


def _resize_columns(image: np.ndarray, axis: _Axis, out: np.ndarray) -> None:
    """Write the columns of a result.

    Args:
        image: (H, W), uint8.
        axis: to w columns.
        out: (H, w), uint8, contiguous.
    """
    # Columns so far apart as those of successive results lie together.
    phases, parts = (
        _scratch.take(name, (step, len(x), x.shape[1] // step), np.uint8)
        for name, step, x in (("phases", axis.step_in, image), ("parts", axis.step_out, out))
    )
    cv2.split(image.reshape(len(image), -1, axis.step_in), list(phases))
    for group in axis.groups:
        taps = {}
        for offset in chain.from_iterable(group.offsets.values()):
            start, phase = divmod(group.source + offset, axis.step_in)
            taps[offset] = phases[phase, :, start : start + group.count]
        start, phase = divmod(group.first, axis.step_out)
        target = out if axis.step_out == 1 else parts[phase]
        _weigh(taps, group, target[:, start : start + group.count])
    if axis.step_out > 1:
        cv2.merge(list(parts), out.reshape(len(image), -1, axis.step_out))


def _resize_rows(image: np.ndarray, axis: _Axis, out: np.ndarray) -> None:
    """Write the rows of a result, (H, w) to (h, w), uint8."""
    for group in axis.groups:
        length = axis.step_in * group.count
        taps = {
            offset: image[group.source + offset :][: length : axis.step_in]
            for offset in chain.from_iterable(group.offsets.values())
        }
        _weigh(taps, group, out[group.first :: axis.step_out][: group.count])


def _weigh(taps: dict[int, np.ndarray], group: _Group, out: np.ndarray) -> None:
    """Write the rows or columns of a group from those of the image, by offset."""
    if out.shape[1] < _NARROW:
        taps = {offset: np.ascontiguousarray(tap.T) for offset, tap in taps.items()}
        out = out.T
    rows, width = out.shape
    step = max(1, _BLOCK // width)
    buffers = _scratch.take("sums", (2, min(step, rows), width), group.dtype)
    for start in range(0, rows, step):
        part = out[start : start + step]
        total, same = buffers[:, : len(part)]
        (own_weight, sources), *others = (
            (weight, [taps[x][start : start + step] for x in offsets])
            for weight, offsets in group.offsets.items()
        )
        _add(sources, total)
        half = group.divisor // 2
        for weight, sources in others:
            _add(sources, same)
            cv2.addWeighted(total, own_weight, same, weight, half, total)
            own_weight, half = 1, 0
        if not others:
            cv2.addWeighted(total, own_weight, total, 0, half, total)
        np.floor_divide(total, group.dtype(group.divisor), out=part, casting="unsafe")


def _add(parts: list[np.ndarray], out: np.ndarray) -> None:
    """Write the sum of bytes."""
    if len(parts) == 1:
        out[:] = parts[0]
        return
    np.add(parts[0], parts[1], out=out, dtype=out.dtype)
    for part in parts[2:]:
        out += part
