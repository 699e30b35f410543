"""A small YouTube-VIS annotation file, and one mask in every encoding."""

import numpy as np
from pycocotools import mask as mask_util

HEIGHT, WIDTH = 12, 16
SQUARE = [2, 2, 10, 2, 10, 8, 2, 8]


def square_mask():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[2:8, 2:10] = 1
    return mask


def run_lengths(mask):
    """By definition: column-major, background first."""
    flat = np.concatenate(([0], mask.ravel(order="F")))
    return np.diff([0, *np.flatnonzero(np.diff(flat)), mask.size]).tolist()


def uncompressed(mask):
    return {"size": list(mask.shape), "counts": run_lengths(mask)}


def compressed(mask):
    rle = mask_util.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(rle["size"]), "counts": rle["counts"].decode()}


ENCODINGS = {
    "polygon": lambda: [SQUARE],
    "uncompressed": lambda: uncompressed(square_mask()),
    "compressed": lambda: compressed(square_mask()),
}


def make_content():
    """One video of three frames with one track, whose ids have nothing to do with positions."""
    return {
        "videos": [
            {
                "id": 70,
                "height": HEIGHT,
                "width": WIDTH,
                "length": 3,
                "file_names": ["v/0.jpg", "v/5.jpg", "v/10.jpg"],
            }
        ],
        "categories": [
            {"id": 30, "name": "cat"},
            {"id": 0, "name": "ant"},
            {"id": 7, "name": "bee"},
        ],
        "annotations": [
            {
                "id": 5,
                "video_id": 70,
                "category_id": 7,
                "segmentations": [compressed(square_mask()), None, compressed(square_mask())],
            }
        ],
    }


def change(content, path, value):
    """Set a nested value, or remove it for KeyError; ``path`` are keys and indices."""
    for key in path[:-1]:
        content = content[key]
    if value is KeyError:
        del content[path[-1]]
    else:
        content[path[-1]] = value
