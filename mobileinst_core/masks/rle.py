"""Masks as RLE, in the COCO convention: those of annotation files, and encoding of pixels.

A code lists the lengths of runs of equal pixels in column-major order, beginning with the
background. JSON files hold it as a list of integers or compressed to text.
"""

import math
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as mask_util

from .run_lengths import MaskError, compressed_text, compressed_texts, read_runs

__all__ = [
    "MIN_POLYGON_NUMBERS",
    "CheckedRle",
    "MaskError",
    "check_polygons",
    "code_of",
    "encode_crop",
    "encode_mask",
    "rle_area",
    "to_rle",
    "to_rles",
]

# Three points with two coordinates each.
MIN_POLYGON_NUMBERS = 6
# In pixels. Far beyond, the compiled code of pycocotools fills the memory or ends the process.
_MAX_COORDINATE = 1e6


class CheckedRle(dict):
    """An RLE from :func:`to_rles`, of at least one pixel, in records that are read again and again.

    It is not checked once more. Whoever changes it makes an ordinary mapping of it first.
    """


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
    if isinstance(segmentation, CheckedRle) and segmentation["size"] == [height, width]:
        return segmentation
    return to_rles([segmentation], height, width)[0]


def to_rles(segmentations: Sequence[Any], height: int, width: int) -> list[dict[str, Any] | None]:
    """Bring masks, in any of the encodings in use, into one form.

    The run lengths are checked because the compiled code of pycocotools reads past its memory, or
    never returns, on those that do not fill the frame.

    Args:
        segmentations: the masks; see :func:`code_of`.
        height: height of the masks in pixels.
        width: width of the masks in pixels.

    Returns:
        The masks in the same order: ``{"size": [height, width], "counts": text}``, which JSON can
        hold and pycocotools reads, or None if no pixel belongs to it.

    Raises:
        MaskError: an encoding is malformed, or made for another frame size.
    """
    size = [height, width]
    codes = []
    for index, segmentation in enumerate(segmentations):
        try:
            code = code_of(segmentation, size)
        except MaskError as error:
            error.index = index
            raise
        codes.append(compressed_text(code, index) if isinstance(code, list) else code)
    texts = compressed_texts(codes)
    # Arrays need not be read from their texts again.
    runs = read_runs(texts if str in map(type, codes) else codes, [height * width] * len(codes))
    rles = [
        {"size": size, "counts": text} if area else None
        for text, area in zip(texts, runs.areas.tolist(), strict=True)
    ]
    for index in np.flatnonzero(runs.have_gaps()).tolist():
        # Two codes with an empty run at the same place would end pycocotools' loops early.
        rles[index] = rles[index] and encode_mask(mask_util.decode(rles[index]))
    return rles


def code_of(segmentation: Any, size: list[int]) -> str | list[int] | np.ndarray | None:
    """The RLE of a mask in any of the encodings in use.

    Polygons of fewer than three points are left out.

    Args:
        segmentation: a list of polygons ``[x0, y0, x1, y1, ...]`` in pixels, of which the mask is
            the union; or ``{"size": [h, w], "counts": ...}`` with integers, text or bytes; or the
            pixels, an array (h, w), as Detectron2's records may have them; or something empty
            (``None``, ``[]``, ``{}``).
        size: ``[height, width]`` of the mask in pixels.

    Returns:
        Its compressed text or its run lengths, which are not checked; None if it is empty.

    Raises:
        MaskError: the encoding is malformed, or made for another frame size.
    """
    if isinstance(segmentation, np.ndarray):
        return _code_of_pixels(segmentation, size)
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        code, found = segmentation.get("counts"), segmentation.get("size")
        if type(found) is not list or found != size or type(code) not in (str, np.ndarray):
            # As few files have it.
            code = _code_of_rle(segmentation, size)
        return code if len(code) else None
    return _code_of_polygons(segmentation, *size)


def encode_mask(mask: np.ndarray) -> dict[str, Any]:
    """The RLE of a mask, as :func:`to_rle` returns it, in half of the time of pycocotools' own.

    Args:
        mask: (H, W) bool, or uint8 of zeros and ones.

    Returns:
        ``{"size": [H, W], "counts": text}``.
    """
    mask = np.ascontiguousarray(mask, dtype=bool)
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return encode_crop(y, x, mask[y : y + height, x : x + width], mask.shape)


def encode_crop(top: int, left: int, pixels: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """The RLE of a mask from the part that holds its foreground.

    Args:
        top: first row of the part in the mask.
        left: first column.
        pixels: (h, w) bool, of the part.
        size: (H, W) of the mask.

    Returns:
        ``{"size": [H, W], "counts": text}``, as pycocotools encodes the whole mask.
    """
    height, width = pixels.shape
    columns = pixels.T
    if columns.size and columns.strides[1] != 1:
        # OpenCV turns rows into columns several times as fast as NumPy.
        columns = cv2.transpose(pixels.view(np.uint8)).view(bool)
    # Background before and after the part; and below it, where the mask goes on there, so that no
    # run reaches into the next column.
    stride = height + (height < size[0])
    line = np.zeros(1 + width * stride + 1, dtype=bool)
    line[1:-1].reshape(width, stride)[:, :height] = columns
    changes = np.flatnonzero(line[1:] != line[:-1])
    column, row = np.divmod(changes, stride)
    ends = np.empty(len(changes) + 2, dtype=np.int64)
    ends[0], ends[-1] = 0, size[0] * size[1]
    ends[1:-1] = (left + column) * size[0] + top + row
    counts = ends[1:] - ends[:-1]
    if counts[-1] == 0:
        counts = counts[:-1]  # the mask ends with its foreground
    (rle,) = mask_util.frPyObjects([{"size": list(size), "counts": counts}], *size)
    return {"size": list(size), "counts": rle["counts"].decode("ascii")}


def rle_area(rle: dict[str, Any] | None) -> int:
    """Number of pixels of a mask from :func:`to_rle`; 0 for None."""
    return 0 if rle is None else int(mask_util.area(rle))


def _code_of_rle(rle: dict[str, Any], size: list[int]) -> str | list[int] | np.ndarray:
    if "size" not in rle or "counts" not in rle:
        raise MaskError(f"an RLE needs the keys 'size' and 'counts', not {list(rle)}")
    found, counts = rle["size"], rle["counts"]
    if isinstance(found, np.ndarray):
        found = found.tolist()
    if found != size and found != tuple(size):
        raise MaskError(f"a mask has size {found}, its frame has size {size} ([height, width])")
    if isinstance(counts, str | list | np.ndarray):
        return counts
    if isinstance(counts, bytes):
        return counts.decode("latin-1")
    raise MaskError(f"'counts' of a mask must be text or integers, not {type(counts).__name__}")


def _code_of_pixels(mask: np.ndarray, size: list[int]) -> str:
    if list(mask.shape) != size:
        raise MaskError(
            f"a mask has shape {list(mask.shape)}, its frame has size {size} ([height, width])"
        )
    return encode_mask(mask != 0)["counts"]


def check_polygons(polygons: Any) -> None:
    """Check that a mask is a list of polygons ``[x0, y0, x1, y1, ...]`` of any number of points.

    Args:
        polygons: of an annotation file.

    Raises:
        MaskError: it is something else, or has coordinates that no image has.
    """
    if not isinstance(polygons, list):
        kind = type(polygons).__name__
        raise MaskError(f"a mask must be polygons, an RLE or null, not {kind}")
    for polygon in polygons:
        try:
            # The sum is not finite if a number is not.
            is_valid = math.isfinite(sum(polygon)) and len(polygon) % 2 == 0
            is_near = max(map(abs, polygon), default=0) <= _MAX_COORDINATE
        except (OverflowError, TypeError):
            is_valid = False
        if not is_valid:
            hint = ""
            if isinstance(polygon, int | float):
                hint = "; the mask is a flat list itself, put it into another: [[x0, y0, ...]]"
            raise MaskError(
                "a polygon must be a flat list [x0, y0, x1, y1, ...] of finite numbers, "
                f"not {str(polygon)[:60]}{hint}"
            )
        if not is_near:
            raise MaskError(
                f"a polygon has coordinates beyond {_MAX_COORDINATE:.0f} pixels: "
                f"{str(polygon)[:60]}"
            )


def _code_of_polygons(polygons: Any, height: int, width: int) -> str | None:
    check_polygons(polygons)
    polygons = [polygon for polygon in polygons if len(polygon) >= MIN_POLYGON_NUMBERS]
    if not polygons:
        return None
    rles = mask_util.frPyObjects(polygons, height, width)
    rle = rles[0] if len(rles) == 1 else mask_util.merge(rles)
    return rle["counts"].decode("ascii")
