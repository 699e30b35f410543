"""Videos from the files of LabelMe, one beside each frame."""

import base64
import io
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError
from pycocotools import mask as mask_util

from mobileinst_core.entries import is_integer
from mobileinst_core.errors import UserError, naming
from mobileinst_core.files import read_json
from mobileinst_core.masks.rle import encode_mask, to_rle

from .content import AnnotatedVideo, Track, number_classes
from .folders import check_size, list_frames, read_class_file

__all__ = ["LabelmeVideos"]

_SUFFIX = ".json"
# "dog-1", "dog_1", "dog 1", "dog#1"
_NUMBERED_LABEL = re.compile(r"(.*[^\s_#-])[\s_#-]+(\d+)")
# Corners of the polygon that stands for a circle.
_CIRCLE_CORNERS = 360

# A class and what tells its objects apart: a group or a number from the label; None if nothing
# does, as there is one.
Identity = tuple[str, int | None]


class LabelmeVideos:
    """Folders of images, each with the JSON file that LabelMe writes beside it.

    An object is all shapes of a video with one class and one ``group_id``. A shape without
    ``group_id`` takes the number at the end of its label, as in "dog-2"; without a number, too, it
    is the only object of its class in the video. Several shapes of one object in a frame are its
    parts, unless nothing numbers them: this is an error.
    """

    def __init__(
        self,
        image_root: str | os.PathLike,
        *,
        class_file: str | os.PathLike | None = None,
        keep_unannotated: bool = False,
    ) -> None:
        """Find the files; none is read.

        Args:
            image_root: folder with one folder of images and JSON files per video.
            class_file: lists the classes, see :func:`~.folders.read_class_file`; a label that
                is in it is never split. None = the classes that occur.
            keep_unannotated: see :func:`~.folders.list_frames`.

        Raises:
            UserError: files are missing or do not belong together, or ``class_file`` cannot be
                read or is malformed.
        """
        self._image_root = Path(image_root)
        self._classes = None if class_file is None else read_class_file(class_file).classes
        self._videos = list_frames(
            image_root, image_root, _SUFFIX, keep_unannotated=keep_unannotated
        )

    @property
    def categories(self) -> list[dict[str, Any]] | None:
        """The classes of the file of classes, numbered from 1; None without one."""
        return self._classes and number_classes(self._classes)

    def __len__(self) -> int:
        """Number of videos."""
        return len(self._videos)

    def __iter__(self) -> Iterator[AnnotatedVideo]:
        """Read the shapes of one video after the other.

        Raises:
            UserError: a file is malformed, or has an unknown class; the message names the shape.
        """
        for frames in self._videos.values():
            yield self._read_video(frames)

    def _read_video(self, frames: list[tuple[str, Path | None]]) -> AnnotatedVideo:
        tracks: dict[Identity, Track] = {}
        size = None
        for frame, (image, path) in enumerate(frames):
            size = check_size(self._image_root / image, size)
            if path is None:
                continue
            for identity, rle in self._read_file(path, size).items():
                track = tracks.setdefault(identity, Track(identity[0], [None] * len(frames)))
                track.masks[frame] = rle
        return AnnotatedVideo([image for image, _ in frames], *size, list(tracks.values()))

    def _read_file(self, path: Path, size: tuple[int, int]) -> dict[Identity, dict | None]:
        """The mask of every object in a frame."""
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            raise UserError(f"{path} is not a file of LabelMe: it has no list of 'shapes'")
        written = (content.get("imageHeight"), content.get("imageWidth"))
        if None not in written and written != size:
            raise UserError(
                f"{path} is for an image of {written[0]} x {written[1]} pixels (height x width), "
                f"but its image has {size[0]} x {size[1]}"
            )
        parts: dict[Identity, list[dict | None]] = defaultdict(list)
        for number, shape in enumerate(content["shapes"]):
            with naming(f"{path}, shape {number}"):
                identity = self._identify(shape)
                if parts.get(identity) and identity[1] is None:
                    raise UserError(
                        f"a second {identity[0]!r} in this frame, and nothing tells them apart: "
                        "set group_id, or number the labels"
                    )
                parts[identity].append(_to_mask(shape, *size))
        return {identity: _unite(masks) for identity, masks in parts.items()}

    def _identify(self, shape: Any) -> Identity:
        label = shape.get("label") if isinstance(shape, dict) else None
        if not isinstance(label, str) or not label:
            raise UserError(f"the label is {label!r}, no text")
        name, number = label, shape.get("group_id")
        if number is not None and not is_integer(number):
            raise UserError(f"the group_id is {number!r}, no integer")
        numbered = _NUMBERED_LABEL.fullmatch(label)
        if number is None and numbered and label not in (self._classes or ()):
            name, number = numbered[1], int(numbered[2])
        if self._classes is not None and name not in self._classes:
            raise UserError(f"the class {name!r} is not in the list of classes")
        return name, number


def _to_mask(shape: dict, height: int, width: int) -> dict | None:
    """The mask of a shape as RLE; None if it has no pixel in the frame."""
    kind = shape.get("shape_type") or "polygon"
    try:
        points = np.asarray(shape.get("points"), dtype=np.float64)
    except (TypeError, ValueError):
        points = np.empty(0)
    if points.ndim != 2 or points.shape[1] != 2 or not np.isfinite(points).all():
        raise UserError("'points' must be a list of pairs of numbers")
    if kind == "mask":
        return _paste(shape, points[0], height, width)
    if kind == "circle" and len(points) == 2:
        points = _circle(*points)
    elif kind == "rectangle" and len(points) == 2:
        (left, top), (right, bottom) = points
        points = np.array([(left, top), (right, top), (right, bottom), (left, bottom)])
    elif kind not in ("polygon", "rectangle", "oriented_rectangle"):
        raise UserError(
            f"a shape of type {kind!r} with {len(points)} points has no area; use polygon, "
            "rectangle, circle or mask"
        )
    if len(points) < 3:
        raise UserError(f"a {kind} of {len(points)} points has no area")
    return to_rle([points.ravel().tolist()], height, width)


def _circle(centre: np.ndarray, edge: np.ndarray) -> np.ndarray:
    angles = 2.0 * math.pi * np.arange(_CIRCLE_CORNERS) / _CIRCLE_CORNERS
    radius = np.linalg.norm(edge - centre)
    return centre + radius * np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _paste(shape: dict, corner: np.ndarray, height: int, width: int) -> dict:
    """The mask of an image in base64, whose upper left pixel lies at a corner (x, y)."""
    try:
        with Image.open(io.BytesIO(base64.b64decode(shape.get("mask") or ""))) as image:
            part = np.asarray(image) != 0
    except (UnidentifiedImageError, OSError, SyntaxError, TypeError, ValueError) as error:
        raise UserError(f"'mask' is no image in base64: {error}") from error
    left, top = np.round(corner).astype(int)
    mask = np.zeros((height, width), dtype=bool)
    inside = mask[max(top, 0) : top + part.shape[0], max(left, 0) : left + part.shape[1]]
    if part.ndim != 2 or inside.shape != part.shape:
        raise UserError(f"'mask' of shape {part.shape} at x {left}, y {top} leaves the image")
    inside[:] = part
    return encode_mask(mask)


def _unite(masks: list[dict | None]) -> dict | None:
    """The union of masks, as :func:`to_rle` returns it."""
    visible = [mask for mask in masks if mask is not None]
    if not visible:
        return None
    united = mask_util.merge(visible)
    return to_rle(united, *united["size"])
