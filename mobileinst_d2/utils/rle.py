"""Masks of the annotation files as run-length codes, in the COCO convention.

A code lists the lengths of runs of equal pixels in column-major order, beginning with the
background. JSON files hold it as a list of integers or compressed to text.
"""

from typing import Any

import numpy as np
from pycocotools import mask as mask_util

__all__ = ["MIN_POLYGON_NUMBERS", "encode_mask", "rle_area", "to_rle"]

# Three points with two coordinates each.
MIN_POLYGON_NUMBERS = 6
# Compressed text holds groups of five bits, each moved up by this code point ...
_CODE_OFFSET = 48
# ... with a sixth bit that says that the number goes on. No run of an image needs more groups.
_MORE_BIT = 32
_MAX_GROUPS = 7


def to_rle(segmentation: Any, height: int, width: int) -> dict[str, Any] | None:
    """Bring the mask of one frame, in any of the encodings in use, into one form.

    Polygons of fewer than three points are left out. The run lengths are checked because the
    compiled code of pycocotools reads past its memory, or never returns, on those that do not
    fill the frame.

    Args:
        segmentation: a list of polygons ``[x0, y0, x1, y1, ...]`` in pixels, of which the mask
            is the union; or ``{"size": [h, w], "counts": ...}`` with integers, text or bytes; or
            something empty (``None``, ``[]``, ``{}``).
        height: height of the frame in pixels.
        width: width of the frame in pixels.

    Returns:
        ``{"size": [height, width], "counts": text}``, which JSON can hold and pycocotools reads;
        None if no pixel belongs to the mask.

    Raises:
        ValueError: the encoding is malformed, or made for another frame size.
    """
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        counts = _compressed_counts(segmentation, height, width)
    elif isinstance(segmentation, list):
        counts = _counts_from_polygons(segmentation, height, width)
    else:
        raise ValueError(
            f"a mask must be polygons, a run-length code or null, not {type(segmentation).__name__}"
        )
    if not counts:
        return None

    runs = _run_lengths(counts)
    if runs.min() < 0 or runs.sum() != height * width:
        raise ValueError(
            f"the run lengths of a mask do not fill its frame of {height} x {width} pixels "
            "(height x width); the mask was made for another size or is damaged"
        )
    if not runs[1::2].any():
        return None
    rle = {"size": [height, width], "counts": counts.decode("ascii")}
    if not runs[1:].all():
        # Two codes with an empty run at the same place would end pycocotools' loops early.
        return encode_mask(mask_util.decode(rle))
    return rle


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


def _compressed_counts(rle: dict[str, Any], height: int, width: int) -> bytes:
    """The compressed run lengths of an RLE dict, compressed or not; its size is checked."""
    if "size" not in rle or "counts" not in rle:
        raise ValueError(f"a run-length code needs the keys 'size' and 'counts', not {list(rle)}")
    size, counts = rle["size"], rle["counts"]
    if not isinstance(size, list | tuple) or list(size) != [height, width]:
        raise ValueError(
            f"a mask has size {size}, its video has size {[height, width]} ([height, width])"
        )
    if isinstance(counts, bytes):
        return counts
    if isinstance(counts, str):
        return counts.encode("utf-8")
    if not isinstance(counts, list):
        raise ValueError(
            f"'counts' of a mask must be text or integers, not {type(counts).__name__}"
        )
    try:
        return mask_util.frPyObjects({"size": [height, width], "counts": counts}, height, width)[
            "counts"
        ]
    except (OverflowError, TypeError, ValueError) as error:
        raise ValueError(f"'counts' of a mask must be non-negative integers: {error}") from error


def _counts_from_polygons(polygons: list[Any], height: int, width: int) -> bytes:
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
        return b""
    return mask_util.merge(mask_util.frPyObjects(valid, height, width))["counts"]


def _run_lengths(counts: bytes) -> np.ndarray:
    """Decompress run lengths: ``(runs,)`` int64, background and foreground in turn."""
    codes = np.frombuffer(counts, dtype=np.uint8).astype(np.int64) - _CODE_OFFSET
    ends = np.flatnonzero((codes & _MORE_BIT) == 0)
    starts = np.concatenate(([0], ends[:-1] + 1))
    groups = ends - starts + 1
    if (
        codes.min() < 0
        or codes.max() >= 2 * _MORE_BIT
        or codes[-1] & _MORE_BIT
        or groups.max() > _MAX_GROUPS
    ):
        raise ValueError("'counts' of a mask is not a compressed run-length code")

    shifts = 5 * (np.arange(len(codes)) - np.repeat(starts, groups))
    runs = np.add.reduceat((codes & (_MORE_BIT - 1)) << shifts, starts)
    # The highest of a number's bits is its sign.
    runs -= np.where(codes[ends] & (_MORE_BIT >> 1), 1 << (5 * groups), 0)
    # From the fourth number on, each is the difference to the one two places before.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    return runs
