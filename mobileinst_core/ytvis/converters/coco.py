"""Videos from COCO files of their frames, whose annotations say which object they show."""

import os
import posixpath
from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from mobileinst_core.entries import (
    entries_by_id,
    has_keys,
    is_integer,
    portable_path,
    read_categories,
    stop_at_error,
)
from mobileinst_core.errors import UserError, naming
from mobileinst_core.files import read_json
from mobileinst_core.masks.rle import to_rle
from mobileinst_core.video.images import natural_key

from .content import AnnotatedVideo, Track

__all__ = ["CocoVideos"]

# Where the identity is looked for by default: the entry itself, then its "attributes" (CVAT).
_TRACK_KEYS = ("track_id", "instance_id")


class CocoVideos:
    """The videos of a COCO file.

    Images with a ``video_id`` form a video if it is the same, in the order of ``frame_id`` if
    they have one; images without it form a video if they lie in the same folder. Without
    ``frame_id`` the order is that of the file names, with numbers by value. Annotations of one
    video are one object if their identity is the same.
    """

    def __init__(self, json_file: str | os.PathLike, *, track_key: str | None = None) -> None:
        """Read the file and check its lists.

        Args:
            json_file: the COCO file.
            track_key: the key of an annotation that tells objects apart, in the entry itself or
                in its ``attributes``; None looks for ``track_id`` and then ``instance_id``.

        Raises:
            UserError: the file cannot be read or is malformed; the message names the entry.
        """
        self._json_file = os.fspath(json_file)
        self._track_keys = _TRACK_KEYS if track_key is None else (track_key,)
        content = read_json(json_file)
        with naming(self._json_file):
            keys = ("images", "annotations", "categories")
            has_keys(content, keys, "a COCO file", "", stop_at_error)
            self._names = read_categories(content["categories"], stop_at_error)
            repeated = [name for name, n in Counter(self._names.values()).items() if n > 1]
            if repeated:
                raise UserError(f"several categories have the name {repeated[0]!r}")
            self._categories = content["categories"]
            self._videos = _group_images(content["images"])
            self._annotations = self._group_annotations(content["annotations"])

    @property
    def categories(self) -> list[dict[str, Any]]:
        """The categories of the file, with their ids."""
        return self._categories

    def __len__(self) -> int:
        """Number of videos."""
        return len(self._videos)

    def __iter__(self) -> Iterator[AnnotatedVideo]:
        """Read the masks of one video after the other.

        Raises:
            UserError: an annotation is malformed; the message names it.
        """
        for images in self._videos.values():
            with naming(self._json_file):
                video = self._read_video(images)
            yield video

    def _group_annotations(self, entries: Any) -> dict[int, list[dict]]:
        """Annotations by image id."""
        image_ids = {image["id"] for images in self._videos.values() for image in images}
        grouped = defaultdict(list)
        annotations = entries_by_id(entries, "annotation", "", stop_at_error) if entries else {}
        for key, entry in annotations.items():
            what = f"annotation {key}"
            needed = ("image_id", "category_id", "segmentation")
            has_keys(entry, needed, what, "", stop_at_error)
            for name, known in (("image_id", image_ids), ("category_id", self._names)):
                if not is_integer(entry[name]) or entry[name] not in known:
                    raise UserError(f"{what} has the unknown {name} {entry[name]!r}")
            if (entry.get("iscrowd") or 0) not in (0, 1):
                raise UserError(f"{what} has iscrowd {entry['iscrowd']!r}, which must be 0 or 1")
            grouped[entry["image_id"]].append(entry)
        return grouped

    def _read_video(self, images: list[dict]) -> AnnotatedVideo:
        first = images[0]
        height, width = int(first["height"]), int(first["width"])
        tracks: dict[Any, Track] = {}
        for frame, image in enumerate(images):
            if (image["height"], image["width"]) != (height, width):
                raise UserError(
                    f"image {image['id']} ({image['file_name']}) has another size than image "
                    f"{first['id']} ({first['file_name']}) of the same video. Are these images of "
                    "one video, in a folder of its own?"
                )
            for entry in self._annotations.get(image["id"], ()):
                self._add(tracks, entry, frame, len(images), (height, width))
        return AnnotatedVideo(
            [portable_path(image["file_name"]) for image in images],
            height,
            width,
            list(tracks.values()),
        )

    def _add(
        self, tracks: dict[str, Track], entry: dict, frame: int, length: int, size: tuple[int, int]
    ) -> None:
        """Add an annotation to the track that it belongs to."""
        what = f"annotation {entry['id']}"
        identity = str(self._identity(entry))
        name, crowd = self._names[entry["category_id"]], int(entry.get("iscrowd") or 0)
        track = tracks.setdefault(identity, Track(name, [None] * length, crowd))
        if (track.class_name, track.iscrowd) != (name, crowd):
            raise UserError(
                f"{what} of object {identity} is {name!r} with iscrowd {crowd}, but in an earlier "
                f"frame the object is {track.class_name!r} with iscrowd {track.iscrowd}"
            )
        if track.masks[frame] is not None:
            raise UserError(
                f"{what} is a second mask of object {identity} in image {entry['image_id']}"
            )
        with naming(what):
            track.masks[frame] = to_rle(entry["segmentation"], *size)

    def _identity(self, entry: dict) -> int | str:
        attributes = entry.get("attributes")
        for place in (entry, attributes if isinstance(attributes, dict) else {}):
            for key in self._track_keys:
                value = place.get(key)
                if is_integer(value):
                    return int(value)
                if isinstance(value, str) and value:
                    return value
        raise UserError(
            f"annotation {entry['id']} does not say which object it shows: it has no "
            f"{' or '.join(map(repr, self._track_keys))}, as a number or text, neither itself nor "
            "in its 'attributes'. Name the key with --track-key"
        )


def _group_images(entries: Any) -> dict[Any, list[dict]]:
    """The images of each video, in order."""
    images = list(entries_by_id(entries, "image", "", stop_at_error).values())
    for image in images:
        what = f"image {image['id']}"
        has_keys(image, ("file_name", "height", "width"), what, "", stop_at_error)
        if not isinstance(image["file_name"], str) or not image["file_name"]:
            raise UserError(f"{what} has the file name {image['file_name']!r}, no text")
        if not all(is_integer(image[key]) and image[key] > 0 for key in ("height", "width")):
            raise UserError(f"{what} must have a 'height' and a 'width' in pixels")
    with_video, with_frame = (_all_have(images, key) for key in ("video_id", "frame_id"))
    videos = defaultdict(list)
    for image in images:
        folder = posixpath.dirname(portable_path(image["file_name"]))
        videos[image["video_id"] if with_video else folder].append(image)
    for video in videos.values():
        video.sort(
            key=lambda image: image["frame_id"] if with_frame else natural_key(image["file_name"])
        )
        for image, following in pairwise(video):
            if with_frame and image["frame_id"] == following["frame_id"]:
                raise UserError(
                    f"images {image['id']} and {following['id']} of one video have the same "
                    f"frame_id {image['frame_id']}"
                )
    return videos


def _all_have(images: list[dict], key: str) -> bool:
    """Whether the images have a key, which all or none of them must have."""
    without = [image for image in images if image.get(key) is None]
    if without and len(without) < len(images):
        raise UserError(f"image {without[0]['id']} has no '{key}', but others have")
    for image in images:
        if not without and not is_integer(image[key]):
            raise UserError(f"image {image['id']} has the {key} {image[key]!r}, no integer")
    return not without
