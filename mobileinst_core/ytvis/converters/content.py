"""Annotated videos of any origin, and the content of a YouTube-VIS file with them."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from pycocotools import mask as mask_util

from mobileinst_core.masks.rle import rle_area

__all__ = ["AnnotatedVideo", "Track", "build_content"]

_logger = logging.getLogger(__name__)


@dataclass
class Track:
    """One object of a video.

    Attributes:
        class_name: its class.
        masks: compressed RLE per frame, None where it is not visible.
        iscrowd: 1 for a region of objects that are not told apart.
    """

    class_name: str
    masks: list[dict[str, Any] | None]
    iscrowd: int = 0


@dataclass
class AnnotatedVideo:
    """Frames of one video and the objects in them.

    Attributes:
        file_names: one image per frame, relative to the image root, with forward slashes.
        height: height of the frames in pixels.
        width: width of the frames in pixels.
        tracks: the objects, each with one mask or None per frame.
    """

    file_names: list[str]
    height: int
    width: int
    tracks: list[Track] = field(default_factory=list)


def build_content(
    videos: Iterable[AnnotatedVideo], categories: Sequence[dict[str, Any]] | None = None
) -> dict[str, Any]:
    """Join videos to the content of a YouTube-VIS annotation file.

    Objects that are not visible in any frame are left out, and their number is logged.

    Args:
        videos: the videos; each is used once, so they may be read one by one.
        categories: entries with ``id`` and ``name``, in which every class must occur; None
            numbers the classes that occur from 1, in the order of their names.

    Returns:
        What ``json.dump`` writes. Videos and tracks are numbered from 1.
    """
    content: dict[str, Any] = {"videos": [], "categories": [], "annotations": []}
    names, invisible = [], 0
    for video_id, video in enumerate(videos, start=1):
        size = {"height": video.height, "width": video.width, "length": len(video.file_names)}
        content["videos"].append({"id": video_id, **size, "file_names": video.file_names})
        for track in video.tracks:
            if not any(track.masks):
                invisible += 1
                continue
            names.append(track.class_name)
            content["annotations"].append(
                {
                    "id": len(names),
                    "video_id": video_id,
                    "category_id": None,
                    "iscrowd": track.iscrowd,
                    **size,
                    "segmentations": track.masks,
                    "bboxes": [m and mask_util.toBbox(m).tolist() for m in track.masks],
                    "areas": [m and rle_area(m) for m in track.masks],
                }
            )
    if invisible:
        _logger.warning("%d objects without any visible pixel are left out", invisible)
    if categories is None:
        categories = number_classes(sorted(set(names)))
    content["categories"] = list(categories)
    ids = {entry["name"]: entry["id"] for entry in categories}
    for name, annotation in zip(names, content["annotations"], strict=True):
        annotation["category_id"] = ids[name]
    return content


def number_classes(names: Sequence[str]) -> list[dict[str, Any]]:
    """Entries of a list of categories, ``id`` and ``name``, numbered from 1 in this order."""
    return [{"id": number, "name": name} for number, name in enumerate(names, start=1)]
