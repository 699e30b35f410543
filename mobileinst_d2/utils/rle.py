"""Masks of the annotation files as run-length codes, in the COCO convention.

A code lists the lengths of runs of equal pixels in column-major order, beginning with the
background. JSON files hold it as a list of integers or compressed to text.
"""

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as mask_util

__all__ = [
    "MIN_POLYGON_NUMBERS",
    "MaskError",
    "TrackMasks",
    "encode_mask",
    "rle_area",
    "to_rle",
    "to_rles",
]

# Three points with two coordinates each.
MIN_POLYGON_NUMBERS = 6
# Compressed text holds groups of five bits, each moved up by this code point ...
_CODE_OFFSET = 48
# ... with a sixth bit that says that the number goes on. No run of an image needs more groups.
_MORE_BIT = 32
_MAX_GROUPS = 7
# The characters of groups that end a number, and of those after which it goes on.
_LAST = bytes(range(_CODE_OFFSET, _CODE_OFFSET + _MORE_BIT))
_MORE = bytes(range(_CODE_OFFSET + _MORE_BIT, _CODE_OFFSET + 2 * _MORE_BIT))
_CODE = re.compile("[0-o]*[0-O]")
# From a last group to the signed byte with its five bits, of which the highest is the sign.
_SIGNED = bytes.maketrans(_LAST, bytes(range(16)) + bytes(range(240, 256)))
# Masks that are decompressed together: enough to be fast, few enough for the processor's cache.
_BATCH = 128


class MaskError(ValueError):
    """A mask that cannot be read.

    Attributes:
        index: its place among the masks that were read together.
    """

    def __init__(self, message: str, index: int = 0) -> None:
        super().__init__(message)
        self.index = index


class TrackMasks(NamedTuple):
    """Masks of equal size, such as those of a track.

    Attributes:
        rles: per mask ``{"size": [height, width], "counts": text}``, which JSON can hold and
            pycocotools reads, or None if no pixel belongs to it.
        areas: (n,) int64, pixels of each mask.
        columns: (n, 2) int64, first and last column with a pixel; an empty mask has ``width, -1``.
    """

    rles: list[dict[str, Any] | None]
    areas: np.ndarray
    columns: np.ndarray


def to_rle(segmentation: Any, height: int, width: int) -> dict[str, Any] | None:
    """Bring the mask of one frame into one form; see :func:`to_rles`.

    Args:
        segmentation: the mask in any of the encodings in use.
        height: height of the frame in pixels.
        width: width of the frame in pixels.

    Returns:
        ``{"size": [height, width], "counts": text}``; None if no pixel belongs to the mask.

    Raises:
        MaskError: the encoding is malformed, or made for another frame size.
    """
    return to_rles([segmentation], height, width).rles[0]


def to_rles(segmentations: Sequence[Any], height: int, width: int) -> TrackMasks:
    """Bring masks, in any of the encodings in use, into one form.

    Polygons of fewer than three points are left out. The run lengths are checked because the
    compiled code of pycocotools reads past its memory, or never returns, on those that do not
    fill the frame.

    Args:
        segmentations: for each mask a list of polygons ``[x0, y0, x1, y1, ...]`` in pixels, of
            which the mask is the union; or ``{"size": [h, w], "counts": ...}`` with integers, text
            or bytes; or something empty (``None``, ``[]``, ``{}``).
        height: height of the masks in pixels.
        width: width of the masks in pixels.

    Returns:
        The masks in the same order.

    Raises:
        MaskError: an encoding is malformed, or made for another frame size.
    """
    size = [height, width]
    rles = []
    for index, segmentation in enumerate(segmentations):
        try:
            rles.append(_compressed(segmentation, size) if segmentation else None)
        except ValueError as error:
            raise MaskError(str(error), index) from error
    areas = np.zeros(len(rles), dtype=np.int64)
    columns = np.tile((width, -1), (len(rles), 1))
    present = [index for index, rle in enumerate(rles) if rle]
    for start in range(0, len(present), _BATCH):
        batch = present[start : start + _BATCH]
        texts = [rles[index]["counts"] for index in batch]
        try:
            areas[batch], columns[batch], has_empty_run = _measure(texts, height, width)
        except MaskError as error:
            raise MaskError(str(error), batch[error.index]) from error
        for index in np.array(batch)[has_empty_run]:
            # Two codes with an empty run at the same place would end pycocotools' loops early.
            rles[index] = encode_mask(mask_util.decode(rles[index]))
    for index in np.flatnonzero(areas == 0):
        rles[index], columns[index] = None, (width, -1)
    return TrackMasks(rles, areas, columns)


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """The run-length code of a mask, as :func:`to_rle` returns it.

    Args:
        mask: (H, W) bool, or uint8 of zeros and ones.

    Returns:
        ``{"size": [H, W], "counts": text}``.
    """
    rle = mask_util.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode("ascii")}


def rle_area(rle: dict[str, Any] | None) -> int:
    """Number of pixels of a mask from :func:`to_rle`; 0 for None."""
    return 0 if rle is None else int(mask_util.area(rle))


def _compressed(segmentation: Any, size: list[int]) -> dict[str, Any] | None:
    """A mask in any encoding as an RLE dict with compressed text; None if it has none."""
    if isinstance(segmentation, dict):
        if segmentation.get("size") == size and isinstance(segmentation.get("counts"), str):
            # As most files have it: nothing is copied.
            return segmentation if segmentation["counts"] else None
        text = _text_of_rle(segmentation, size)
    elif isinstance(segmentation, list):
        text = _text_of_polygons(segmentation, *size)
    else:
        raise ValueError(
            f"a mask must be polygons, a run-length code or null, not {type(segmentation).__name__}"
        )
    return {"size": size, "counts": text} if text else None


def _text_of_rle(rle: dict[str, Any], size: list[int]) -> str:
    """The compressed run lengths of an RLE dict, compressed or not; its size is checked."""
    if "size" not in rle or "counts" not in rle:
        raise ValueError(f"a run-length code needs the keys 'size' and 'counts', not {list(rle)}")
    found, counts = rle["size"], rle["counts"]
    if found != size and found != tuple(size):
        raise ValueError(f"a mask has size {found}, its video has size {size} ([height, width])")
    if isinstance(counts, str):
        return counts
    if isinstance(counts, bytes):
        return counts.decode("latin-1")
    if not isinstance(counts, list):
        raise ValueError(
            f"'counts' of a mask must be text or integers, not {type(counts).__name__}"
        )
    try:
        rle = mask_util.frPyObjects({"size": size, "counts": counts}, *size)
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"'counts' of a mask must be non-negative integers: {error}") from error
    return rle["counts"].decode("ascii")


def _text_of_polygons(polygons: list[Any], height: int, width: int) -> str:
    """The compressed run lengths of the union of polygons; empty if none has an inside."""
    valid = []
    for polygon in polygons:
        try:
            points = np.asarray(polygon, dtype=np.float64)
        except (TypeError, ValueError):
            points = np.full(1, np.nan)
        if points.ndim != 1 or len(points) % 2 or not np.isfinite(points).all():
            raise ValueError(
                "a polygon must be a flat list [x0, y0, x1, y1, ...] of finite numbers, "
                f"not {str(polygon)[:60]}"
            )
        if len(points) >= MIN_POLYGON_NUMBERS:
            valid.append(points.tolist())
    if not valid:
        return ""
    return mask_util.merge(mask_util.frPyObjects(valid, height, width))["counts"].decode("ascii")


def _measure(
    texts: list[str], height: int, width: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Check compressed codes, and measure their masks.

    Args:
        texts: codes, none empty.
        height: height of the masks in pixels.
        width: width of the masks in pixels.

    Returns:
        Areas (n,), first and last columns (n, 2), and whether a run after the first is empty (n,).

    Raises:
        MaskError: a text is no code, or its runs do not fill a mask.
    """
    numbers, counts = _numbers(texts)
    # Pairs of background and foreground; the last has no foreground where the count is odd.
    is_odd = counts % 2 == 1
    runs = np.insert(numbers, counts.cumsum()[is_odd], 0).reshape(-1, 2)
    pairs = (counts + 1) // 2
    ends = pairs.cumsum() - 1
    begins = ends - pairs + 1

    # From the fourth number of a code on, each is the difference to the one two places before.
    first = runs[begins, 0]
    runs[begins, 0] = 0
    runs = runs.cumsum(axis=0, dtype=np.int32)
    before = np.zeros((len(texts), 2), dtype=np.int32)
    before[1:] = runs[begins[1:] - 1]
    runs -= np.repeat(before, pairs, axis=0)
    runs[begins, 0] = first
    runs[ends[is_odd], 1] = 0

    background, areas = np.add.reduceat(runs, begins, dtype=np.int64).T
    damaged = background + areas != height * width
    if runs.min() < 0:
        damaged |= np.minimum.reduceat(runs.min(axis=1), begins) < 0
    if damaged.any():
        raise MaskError(
            f"the run lengths of a mask do not fill its frame of {height} x {width} pixels "
            "(height x width); the mask was made for another size or is damaged",
            int(damaged.argmax()),
        )
    last = height * width - 1 - np.where(is_odd, runs[ends, 0], 0)
    columns = np.stack((first, last), axis=1) // height
    has_empty = np.zeros(len(texts), dtype=bool)
    if np.count_nonzero(runs) + np.count_nonzero(is_odd) + np.count_nonzero(first == 0) < runs.size:
        empty = runs == 0
        empty[begins, 0] = False
        empty[ends[is_odd], 1] = False
        has_empty[ends.searchsorted(np.flatnonzero(empty) // 2)] = True
    return areas, columns, has_empty


def _numbers(texts: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The signed numbers in compressed codes, one code after the other, and how many each has."""
    text = "".join(texts)
    codes = np.frombuffer(text.encode("utf-8"), dtype=np.uint8)
    ends = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts)).cumsum()
    if (
        not text.isascii()
        or codes.min() < _LAST[0]
        or codes.max() > _MORE[-1]
        or codes[ends - 1].max() > _LAST[-1]
    ):
        raise _not_a_code(next(i for i, text in enumerate(texts) if not _CODE.fullmatch(text)))

    # The highest group of each number with its sign, and then the others from high to low.
    highest = text.encode().translate(_SIGNED, _MORE)
    numbers = np.frombuffer(highest, dtype=np.int8).astype(np.int32)
    others = np.flatnonzero(codes >= _MORE[0])
    counts = np.diff(ends - others.searchsorted(ends), prepend=0)
    owners = others - np.arange(len(others))
    bits = codes[others].astype(np.int32) - _MORE[0]
    for _ in range(_MAX_GROUPS - 1):
        # Where several groups have the same owner, the last assignment holds.
        numbers[owners] = (numbers[owners] << 5) + bits
        lower = np.flatnonzero(owners[1:] == owners[:-1])
        owners, bits = owners[lower], bits[lower]
    if len(owners):
        raise _not_a_code(int(counts.cumsum().searchsorted(owners[0], side="right")))
    return numbers, counts


def _not_a_code(index: int) -> MaskError:
    return MaskError("'counts' of a mask is not a compressed run-length code", index)
