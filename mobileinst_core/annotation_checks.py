"""Checks that the validation of YouTube-VIS and of COCO files share."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_util

from .entries import Finding
from .masks.rle import rle_area

__all__ = ["check_category_names", "compare_with_mask"]

# Pixels by which a box may differ from that of the mask, as files may round or count differently.
_BOX_TOLERANCE = 2.0
# Part of an area by which it may differ from the mask's pixels: areas of polygons are geometric.
_AREA_TOLERANCE = 0.1
# Pixels by which it always may.
_AREA_SLACK = 16


def check_category_names(categories: dict[int, str]) -> list[Finding]:
    """Find names that several categories, given by their ids, have."""
    findings = []
    for name, count in Counter(categories.values()).items():
        if name and count > 1:
            ids = ", ".join(str(key) for key in categories if categories[key] == name)
            findings.append(Finding("categories", f"the name {name!r} is that of {ids}"))
    return findings


def compare_with_mask(
    box: Sequence[float], area: float, rle: dict[str, Any], where: str
) -> list[Finding]:
    """Find out whether box and area fit a mask.

    Args:
        box: (x, y, width, height) in pixels.
        area: pixels.
        rle: the mask, of at least one pixel.
        where: the object in messages.
    """
    findings = []
    tight = mask_util.toBbox(rle)
    corners = np.add(box, (0, 0, box[0], box[1])), tight + (0, 0, tight[0], tight[1])
    if np.abs(corners[0] - corners[1]).max() > _BOX_TOLERANCE:
        message = f"{where}: the box is {box}, that of the mask {tight.tolist()} (x, y, w, h)"
        findings.append(Finding("boxes and areas", message, is_error=False))
    pixels = rle_area(rle)
    if abs(area - pixels) > max(_AREA_SLACK, _AREA_TOLERANCE * pixels):
        message = f"{where}: the area is {area}, the mask has {pixels} pixels"
        findings.append(Finding("boxes and areas", message, is_error=False))
    return findings
