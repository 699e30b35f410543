"""The content of a YouTube-VIS annotation file, checked entry by entry.

The functions report what they find and go on with the rest. So one set of rules serves the loader,
which stops at the first error, and the validation, which lists them all.
"""

import math
import numbers
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pycocotools import mask as mask_util

from mobileinst_core.masks.rle import MIN_POLYGON_NUMBERS, rle_area, to_rle

__all__ = [
    "Finding",
    "Report",
    "check_kind",
    "entries_by_id",
    "has_keys",
    "is_integer",
    "read_categories",
    "read_tracks",
    "read_videos",
    "stop_at_error",
]


@dataclass(frozen=True)
class Finding:
    """Something that is wrong in a file.

    Attributes:
        group: the part of the file that it is about.
        message: what is wrong; names the entry.
        is_error: whether the entry cannot be used as it stands; otherwise this is a warning.
    """

    group: str
    message: str
    is_error: bool = True


Report = Callable[[Finding], None]


def stop_at_error(finding: Finding) -> None:
    """A report that raises errors and passes over warnings.

    Raises:
        ValueError: the finding is an error.
    """
    if finding.is_error:
        raise ValueError(finding.message)


def check_kind(content: Any, report: Report) -> bool:
    """Recognise the files that are most often taken for a YouTube-VIS annotation file.

    Args:
        content: the content of the JSON file.
        report: takes what is wrong.

    Returns:
        Whether the parts of the content can be read.
    """
    message = None
    if not isinstance(content, dict):
        message = (
            f"expected a JSON object with videos and categories, got a {type(content).__name__}; "
            "a list is the format of results, not of annotations"
        )
    elif isinstance(content.get("videos"), dict):
        message = (
            "this looks like the meta.json of YouTube-VOS, which has no categories; "
            "take the annotation file of YouTube-VIS (instances.json or train.json)"
        )
    elif "images" in content and "videos" in content:
        message = (
            "this has a list of images beside the videos: it is a CocoVID file, as MMTracking "
            "converts to from the COCO format. Take the original YouTube-VIS file, or convert "
            "this one back with `tools/to_ytvis.py coco`"
        )
    elif "images" in content:
        message = (
            "this has a list of images: it is a COCO file. Register files of single images with "
            "the format 'coco'; convert frames of videos with `tools/to_ytvis.py coco`"
        )
    if message:
        report(Finding("kind of file", message))
        return False
    return has_keys(
        content, ("videos", "categories"), "the annotation file", "kind of file", report
    )


def has_keys(entry: Any, keys: tuple[str, ...], what: str, group: str, report: Report) -> bool:
    """Check that an entry is a mapping with some keys.

    Args:
        entry: part of a file.
        keys: which it must have.
        what: the entry's name in messages.
        group: see :class:`Finding`.
        report: takes what is wrong.

    Returns:
        Whether it is.
    """
    if not isinstance(entry, dict):
        report(Finding(group, f"{what} must be a mapping, got {type(entry).__name__}"))
        return False
    missing = [key for key in keys if key not in entry]
    if missing:
        report(Finding(group, f"{what} has no {', '.join(map(repr, missing))}"))
    return not missing


def is_integer(value: Any) -> bool:
    """Whether a value of a JSON file is an integer; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)


def entries_by_id(entries: Any, what: str, group: str, report: Report) -> dict[int, dict]:
    """The usable entries of a list by their ``id``, in the order of the file.

    Args:
        entries: part of a file that should be a list of mappings.
        what: the name of one entry in messages.
        group: see :class:`Finding`.
        report: takes what is wrong.

    Returns:
        The first entry of each id.
    """
    if not isinstance(entries, list) or not entries:
        report(Finding(group, f"there must be a list with at least one {what}"))
        return {}
    found: dict[int, dict] = {}
    for position, entry in enumerate(entries):
        if not has_keys(entry, ("id",), f"{what} at position {position}", group, report):
            continue
        if not is_integer(entry["id"]):
            report(Finding(group, f"{what} ids must be integers, got {entry['id']!r}"))
        elif entry["id"] in found:
            report(Finding(group, f"the {what} id {entry['id']} occurs more than once"))
        else:
            found[entry["id"]] = entry
    return found


def read_categories(content: dict, report: Report) -> dict[int, str]:
    """The categories of a file.

    Args:
        content: what :func:`check_kind` accepts.
        report: takes what is wrong.

    Returns:
        Class names by category id, in ascending order of the id.
    """
    group, names = "categories", {}
    for key, entry in sorted(
        entries_by_id(content["categories"], "category", group, report).items()
    ):
        names[key] = ""
        if has_keys(entry, ("name",), f"category {key}", group, report):
            if isinstance(entry["name"], str) and entry["name"]:
                names[key] = entry["name"]
            else:
                report(Finding(group, f"category {key} has the name {entry['name']!r}, no text"))
    return names


def read_videos(content: dict, report: Report) -> dict[int, dict | None]:
    """The videos of a file.

    Args:
        content: what :func:`check_kind` accepts.
        report: takes what is wrong.

    Returns:
        By video id, in the order of the file: ``video_id``, ``height``, ``width``, ``length``
        and ``file_names`` as they stand in the file; None for a video that cannot be used.
    """
    videos = entries_by_id(content["videos"], "video", "videos", report)
    return {key: _read_video(entry, report) for key, entry in videos.items()}


def _read_video(entry: dict, report: Report) -> dict | None:
    group, what = "videos", f"video {entry['id']}"
    if not has_keys(entry, ("height", "width", "file_names"), what, group, report):
        return None
    names, usable = entry["file_names"], True
    for key in ("height", "width"):
        if not is_integer(entry[key]) or entry[key] < 1:
            report(Finding(group, f"{what} has {key} {entry[key]!r}, no positive integer"))
            usable = False
    if not isinstance(names, list) or not all(isinstance(n, str) and n for n in names):
        report(Finding(group, f"{what}: 'file_names' must be a list of file names"))
        return None
    if not names:
        report(Finding(group, f"{what} has no frames"))
        return None
    length = entry.get("length", len(names))
    if length != len(names):
        report(Finding(group, f"{what} has length {length} but {len(names)} file names"))
    if not usable:
        return None
    return {
        "video_id": entry["id"],
        "height": entry["height"],
        "width": entry["width"],
        "length": len(names),
        "file_names": names,
    }


def read_tracks(
    content: dict, videos: dict[int, dict | None], categories: dict[int, str], report: Report
) -> Iterator[tuple[dict, dict]]:
    """The tracks of a file, one at a time.

    Args:
        content: what :func:`check_kind` accepts.
        videos: from :func:`read_videos`.
        categories: from :func:`read_categories`.
        report: takes what is wrong.

    Yields:
        The entry of the file, and the track read from it: ``id``, ``video_id``, ``category_id``
        (of the file), ``iscrowd`` and per frame ``segmentations`` (compressed RLE, or None where
        invisible or unreadable), ``bboxes`` and ``areas`` (as given, else from the masks).
    """
    group = "annotations"
    if not content.get("annotations"):
        return
    entries = entries_by_id(content["annotations"], "annotation", group, report)
    for track_id, entry in entries.items():
        what = f"annotation {track_id}"
        if not has_keys(entry, ("video_id", "category_id", "segmentations"), what, group, report):
            continue
        known = True
        video_id, category_id = entry["video_id"], entry["category_id"]
        if not is_integer(video_id) or video_id not in videos:
            known = False
            report(Finding(group, f"{what} belongs to video {video_id}, which is missing"))
        if not is_integer(category_id) or category_id not in categories:
            known = False
            report(
                Finding(
                    group,
                    f"{what} has category_id {category_id}, which is not in the categories of "
                    "the file",
                )
            )
        crowd = entry.get("iscrowd") or 0
        if crowd not in (0, 1):
            known = False
            report(Finding(group, f"{what} has iscrowd {crowd!r}, which must be 0 or 1"))
        if known and videos[video_id] is not None:
            track = _read_track(entry, videos[video_id], f"{what} of video {video_id}", report)
            if track is not None:
                yield entry, track


def _read_track(entry: dict, video: dict, what: str, report: Report) -> dict | None:
    masks = entry["segmentations"]
    is_complete = _has_length(masks, "segmentations", video, what, report)
    if not isinstance(masks, list):
        return None
    rles = [
        _read_mask(mask, video, f"{what}, frame {frame}", report)
        for frame, mask in enumerate(masks)
    ]
    if not is_complete:
        return None
    track = {
        "id": entry["id"],
        "video_id": entry["video_id"],
        "category_id": entry["category_id"],
        "iscrowd": int(entry.get("iscrowd") or 0),
        "segmentations": rles,
    }
    for key, is_valid, compute in (
        ("bboxes", _is_box, lambda rle: mask_util.toBbox(rle).tolist()),
        ("areas", _is_number, rle_area),
    ):
        given = entry.get(key)
        if given is None or not _has_length(given, key, video, what, report):
            given = [None] * video["length"]
        values = []
        for frame, (value, rle) in enumerate(zip(given, rles, strict=True)):
            if value is not None and not is_valid(value):
                report(Finding("annotations", f"{what}, frame {frame}: {value!r} in '{key}'"))
                value = None
            values.append(None if rle is None else compute(rle) if value is None else value)
        track[key] = values
    return track


def _has_length(values: Any, key: str, video: dict, what: str, report: Report) -> bool:
    if isinstance(values, list) and len(values) == video["length"]:
        return True
    size = len(values) if isinstance(values, list) else f"no list ({values!r})"
    report(
        Finding(
            "annotations",
            f"{what}: the video has {video['length']} frames but '{key}' has {size} entries",
        )
    )
    return False


def _read_mask(segmentation: Any, video: dict, what: str, report: Report) -> dict | None:
    try:
        rle = to_rle(segmentation, video["height"], video["width"])
    except ValueError as error:
        report(Finding("masks", f"{what}: {error}"))
        return None
    if isinstance(segmentation, list):
        for polygon in segmentation:
            if len(polygon) < MIN_POLYGON_NUMBERS:
                message = f"{what}: a polygon of fewer than three points, which is left out"
                report(Finding("polygons", message, is_error=False))
    return rle


def _is_number(value: Any) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _is_box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_is_number, value))
