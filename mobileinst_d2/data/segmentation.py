"""The three ways in which annotation files write a mask, brought into one form."""

from typing import Any

import numpy as np
from pycocotools import mask as mask_util

__all__ = ["decode_segmentation", "normalize_segmentation", "segmentation_to_rle"]


def normalize_segmentation(segmentation: Any, height: int, width: int) -> dict | list | None:
    """Check one mask annotation without decoding it, and reduce it to what records may hold.

    Nothing visible is written in several ways: ``null``, an empty list or mapping, a run-length
    encoding (RLE) of area 0, or polygons of which none has three points.

    Args:
        segmentation: compressed RLE, uncompressed RLE, list of polygons, or nothing.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        a compressed RLE, a list of polygons with at least three points each, or None if nothing
        is visible.

    Raises:
        ValueError: if it is none of these, or an RLE does not fit the image.
    """
    if segmentation is None:
        return None
    if isinstance(segmentation, dict):
        return _normalize_rle(segmentation, height, width) if segmentation else None
    if isinstance(segmentation, list):
        return _normalize_polygons(segmentation)
    raise ValueError(
        "a segmentation must be an RLE mapping, a list of polygons or null, "
        f"got {type(segmentation).__name__}"
    )


def segmentation_to_rle(segmentation: Any, height: int, width: int) -> dict | None:
    """Convert one mask annotation in any form to a compressed RLE.

    Args:
        segmentation: see :func:`normalize_segmentation`.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        the compressed RLE, or None if nothing is visible.

    Raises:
        ValueError: see :func:`normalize_segmentation`.
    """
    segmentation = normalize_segmentation(segmentation, height, width)
    if not isinstance(segmentation, list):
        return segmentation
    rle = mask_util.merge(mask_util.frPyObjects(segmentation, height, width))
    return rle if mask_util.area(rle) > 0 else None


def decode_segmentation(segmentation: Any, height: int, width: int) -> np.ndarray | None:
    """Rasterise one mask annotation in any form.

    Args:
        segmentation: see :func:`normalize_segmentation`.
        height: height of the image in pixels.
        width: width of the image in pixels.

    Returns:
        the mask, (height, width) uint8 of 0 and 1, or None if nothing is visible.

    Raises:
        ValueError: see :func:`normalize_segmentation`.
    """
    rle = segmentation_to_rle(segmentation, height, width)
    return None if rle is None else mask_util.decode(rle)


def _normalize_rle(rle: dict, height: int, width: int) -> dict | None:
    if "size" not in rle or "counts" not in rle:
        raise ValueError(f"an RLE needs the keys 'size' and 'counts', got {sorted(rle)}")
    if list(rle["size"]) != [height, width]:
        raise ValueError(
            f"the RLE has size {list(rle['size'])} but the image has [height, width] = "
            f"[{height}, {width}]"
        )
    counts = rle["counts"]
    if isinstance(counts, list):
        if sum(counts) != height * width:
            raise ValueError(
                f"the run lengths of the RLE sum to {sum(counts)}, not to height * width = "
                f"{height * width}"
            )
        rle = mask_util.frPyObjects(rle, height, width)
    elif not isinstance(counts, str | bytes):
        raise ValueError(f"RLE counts must be text or a list, got {type(counts).__name__}")
    return rle if mask_util.area(rle) > 0 else None


def _normalize_polygons(polygons: list) -> list | None:
    for polygon in polygons:
        if not isinstance(polygon, list | tuple | np.ndarray):
            raise ValueError(
                "polygons must be a list of lists [x0, y0, x1, y1, ...], got a list of "
                f"{type(polygon).__name__}"
            )
        if len(polygon) % 2:
            raise ValueError(f"a polygon has an odd number of coordinates ({len(polygon)})")
    valid = [polygon for polygon in polygons if len(polygon) >= 6]
    return valid or None
