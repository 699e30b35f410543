"""Run-length codes of masks of which only a part is at hand."""

from typing import Any

import numpy as np
from pycocotools import mask as mask_util

__all__ = ["encode_crop"]


def encode_crop(top: int, left: int, columns: np.ndarray, size: tuple[int, int]) -> dict[str, Any]:
    """The run-length code of a mask from the part that holds its foreground.

    Args:
        top: first row of the part in the mask.
        left: first column.
        columns: (w, h) bool, the pixels of the part column by column.
        size: (H, W) of the mask.

    Returns:
        ``{"size": [H, W], "counts": bytes}``, as pycocotools encodes the whole mask.
    """
    height = columns.shape[1]
    if height < size[0]:
        # Below the part the background goes on, so no run reaches into the next column.
        columns = np.pad(columns, ((0, 0), (0, 1)))
    changes = np.flatnonzero(np.diff(columns.ravel(), prepend=False, append=False))
    column, row = np.divmod(changes, columns.shape[1])
    ends = (left + column) * size[0] + top + row
    last = size[0] * size[1]
    counts = np.diff(ends, prepend=0, append=last)
    # Where the mask ends with its foreground, nothing follows.
    counts = counts[: len(counts) - (counts[-1] == 0)]
    code = {"size": list(size), "counts": counts}
    return mask_util.frPyObjects([code], *size)[0]
