"""A small YouTube-VIS annotation file, and one mask in every encoding."""

import numpy as np
from pycocotools import mask as mask_util

HEIGHT, WIDTH = 12, 16
SQUARE = [2, 2, 10, 2, 10, 8, 2, 8]


def square_mask():
    return boxes_in((HEIGHT, WIDTH))(2, 2, 10, 8)


def boxes_in(size):
    """A function that makes masks of a size, which are boxes."""

    def box_mask(x0, y0, x1, y1):
        mask = np.zeros(size, np.uint8)
        mask[y0:y1, x0:x1] = 1
        return mask

    return box_mask


def custom_dataset(root, name, kind="ytvis", **changes):
    """The entry in DATASETS.CUSTOM of one part of a data set."""
    file = "coco.json" if kind == "coco" else "instances.json"
    paths = {"JSON": str(root / file), "IMAGE_ROOT": str(root / "JPEGImages")}
    return {"NAME": name, "FORMAT": kind, **paths, **changes}


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
    video = {"id": 70, "height": HEIGHT, "width": WIDTH, "length": 3}
    video["file_names"] = ["v/0.jpg", "v/5.jpg", "v/10.jpg"]
    categories = [{"id": i, "name": name} for i, name in ((30, "cat"), (0, "ant"), (7, "bee"))]
    masks = [compressed(square_mask()), None, compressed(square_mask())]
    track = {"id": 5, "video_id": 70, "category_id": 7, "segmentations": masks}
    return {"videos": [video], "categories": categories, "annotations": [track]}


def change(content, path, value):
    """Set a nested value, or remove it for KeyError; ``path`` is such as "videos.0.length"."""
    *keys, last = [int(key) if key.isdigit() else key for key in str(path).split(".")]
    for key in keys:
        content = content[key]
    if value is KeyError:
        del content[last]
    else:
        content[last] = value
