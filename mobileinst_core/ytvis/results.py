"""The JSON files of YouTube-VIS, checked and prepared for evaluation.

Ground truth has ``videos``, ``categories`` and ``annotations`` with one entry per track; results
are a list with one entry per predicted track::

    {"video_id": int, "category_id": int, "score": float, "segmentations": [RLE | null] * length}

This is apart from the loader of training and inference, which numbers the categories anew and
fills in missing areas: the metric depends on the file as it is.
"""

import json
import logging
import numbers
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mobileinst_core.masks.rle import MaskError, to_rles

from .track_masks import TrackMasks, Video, read_masks

__all__ = [
    "GroundTruth",
    "Results",
    "Track",
    "Video",
    "load_ground_truth",
    "load_results",
    "result_entries",
]

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Track:
    """An annotated or predicted object in a whole video.

    Attributes:
        video_id: the video.
        category_id: the category, as in the file.
        masks: its masks.
        area: mean number of pixels over the frames where the track has any.
        score: of a prediction.
        is_crowd: of an annotation.
    """

    video_id: int
    category_id: int
    masks: TrackMasks
    area: float
    score: float = 0.0
    is_crowd: bool = False


@dataclass(frozen=True)
class GroundTruth:
    """A checked ground truth file.

    Attributes:
        videos: by video id, in ascending order.
        categories: class name by category id, in ascending order of the id.
        tracks: the annotated tracks, those of a video in the order of the file; empty if the file
            has no annotations, as those of the public validation and test sets.
    """

    videos: dict[int, Video]
    categories: dict[int, str]
    tracks: list[Track]


def load_ground_truth(source: str | PathLike[str] | dict[str, Any]) -> GroundTruth:
    """Read a ground truth file in the YouTube-VIS format.

    Args:
        source: path of the JSON file, or its content.

    Returns:
        The checked content. The ids of tracks do not matter here.

    Raises:
        OSError: the file cannot be read.
        ValueError: the content is malformed; the message names the file and the entry.
    """
    content, name = _read_json(source, "ground truth")
    if not isinstance(content, dict) or not {"videos", "categories"} <= content.keys():
        raise ValueError(
            f"{name} is not in the YouTube-VIS format: it needs 'videos', 'categories' and "
            "'annotations' (the meta.json of YouTube-VOS is another file)"
        )
    videos = {}
    for video_id, entry in _by_id(content["videos"], f"{name}: 'videos'").items():
        with _naming(f"{name}: video {video_id}"):
            videos[video_id] = _read_video(entry)
    categories = {
        category_id: str(entry.get("name", category_id))
        for category_id, entry in _by_id(content["categories"], f"{name}: 'categories'").items()
    }
    annotations = _list_of_dicts(content.get("annotations") or [], f"{name}: 'annotations'")
    _warn_about_track_ids(annotations, name)
    truth = GroundTruth(videos, categories, [])

    def where(index: int) -> str:
        return f"{name}: annotation number {index} (id {annotations[index].get('id')})"

    by_video = _check_entries(annotations, truth, where)
    indices = list(chain.from_iterable(by_video.values()))
    masks_of_tracks = read_masks(annotations, indices, videos, where)
    for index, masks in zip(indices, masks_of_tracks, strict=True):
        entry, area = annotations[index], masks.area
        is_crowd = entry.get("iscrowd", 0)
        with _naming(where(index)):
            if is_crowd not in (0, 1, None):
                raise ValueError(f"'iscrowd' must be 0 or 1, not {is_crowd!r}")
            if entry.get("areas") is not None:
                area = _annotated_area(entry["areas"])
        video_id, category_id = int(entry["video_id"]), int(entry["category_id"])
        truth.tracks.append(Track(video_id, category_id, masks, area, is_crowd=bool(is_crowd)))
    return truth


class Results:
    """Checked predicted tracks, of which the masks are read as they are needed."""

    def __init__(self, entries: list[dict[str, Any]], truth: GroundTruth, name: str) -> None:
        """Check everything but the masks.

        Args:
            entries: of the results format.
            truth: the ground truth to which the ids belong.
            name: of the file, for messages.

        Raises:
            ValueError: an entry is malformed.
        """
        self._entries = _list_of_dicts(entries, name)
        self._truth = truth
        self._name = name
        self._by_video = _check_entries(entries, truth, self._where)
        for index, entry in enumerate(entries):
            score = entry.get("score")
            if not _is_finite(score):
                raise ValueError(
                    f"{self._where(index)}: 'score' must be a finite number, not {score!r}"
                )

    def by_video(self) -> Iterator[tuple[int, list[Track]]]:
        """Read the predicted tracks.

        Yields:
            The id of each video of the ground truth, and its tracks in the order of the file.

        Raises:
            ValueError: a mask is malformed; the message names the file, the entry and the frame.
        """
        videos = self._truth.videos
        indices = chain.from_iterable(self._by_video.get(video_id, ()) for video_id in videos)
        masks = read_masks(self._entries, indices, videos, self._where)
        for video_id in videos:
            tracks = []
            for index in self._by_video.get(video_id, ()):
                entry, own = self._entries[index], next(masks)
                category_id, score = int(entry["category_id"]), float(entry["score"])
                tracks.append(Track(video_id, category_id, own, own.area, score=score))
            yield video_id, tracks

    def entries(self) -> list[dict[str, Any]]:
        """The tracks in the results format, ordered by video, with compressed masks.

        Raises:
            ValueError: a mask is malformed; the message names the file, the entry and the frame.
        """
        entries = []
        for video_id, video in self._truth.videos.items():
            for index in self._by_video.get(video_id, ()):
                entry = self._entries[index]
                try:
                    rles = to_rles(entry["segmentations"], video.height, video.width)
                except MaskError as error:
                    message = f"{self._where(index)}, frame {error.index}: {error}"
                    raise ValueError(message) from error
                entries.append(
                    {
                        "video_id": video_id,
                        "category_id": int(entry["category_id"]),
                        "score": float(entry["score"]),
                        "segmentations": rles,
                    }
                )
        return entries

    def _where(self, index: int) -> str:
        return f"{self._name}: entry number {index} (video {self._entries[index].get('video_id')})"


def load_results(source: str | PathLike[str] | list[dict[str, Any]], truth: GroundTruth) -> Results:
    """Read predicted tracks in the format that the evaluation servers take.

    Masks may also be polygons or uncompressed run lengths, and further keys are ignored.

    Args:
        source: path of the JSON file, or its content.
        truth: the ground truth to which the ids belong.

    Returns:
        The tracks by video.

    Raises:
        OSError: the file cannot be read.
        ValueError: the content is malformed, or names a video or category that ``truth`` does
            not have; the message names the file and the entry.
    """
    content, name = _read_json(source, "results")
    return Results(content, truth, name)


def result_entries(
    output: dict[str, Any],
    category_ids: Sequence[int] | Mapping[int, int],
    size: tuple[int, int],
) -> list[dict[str, Any]]:
    """Entries of the results format for the predicted tracks of one video.

    Args:
        output: ``video_id`` and, per track, ``pred_scores``, ``pred_labels`` (contiguous) and
            ``pred_rles`` (an RLE or None per frame).
        category_ids: category id of each label.
        size: (height, width) of the video in pixels.

    Returns:
        What JSON can hold, one entry per track.

    Raises:
        ValueError: a mask is malformed, or has another size.
    """
    columns = (output["pred_scores"], output["pred_labels"], output["pred_rles"])
    return [
        {
            "video_id": output["video_id"],
            "category_id": category_ids[label],
            "score": float(score),
            "segmentations": to_rles(rles, *size),
        }
        for score, label, rles in zip(*columns, strict=True)
    ]


def _read_json(source: Any, what: str) -> tuple[Any, str]:
    """The content of a JSON file, or the given content, and a name for error messages."""
    if not isinstance(source, str | PathLike):
        return source, what
    path = Path(source)
    content = path.read_bytes()
    try:
        return orjson.loads(content), str(path)
    except ValueError:
        # Infinite numbers and other encodings than UTF-8, of which there is more to say.
        pass
    try:
        return json.loads(content), str(path)
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file: {error}") from error


def _read_video(entry: dict[str, Any]) -> Video:
    names = entry.get("file_names")
    if "length" not in entry and isinstance(names, list):
        entry = entry | {"length": len(names)}
    video = Video(*(_integer(entry, key) for key in ("height", "width", "length")))
    if min(video.height, video.width, video.length) <= 0:
        raise ValueError("'height', 'width' and 'length' must be positive")
    if isinstance(names, list) and len(names) != video.length:
        raise ValueError(
            f"'length' is {video.length} but 'file_names' does not have as many entries"
        )
    return video


def _check_entries(
    entries: list[dict[str, Any]], truth: GroundTruth, where: Callable[[int], str]
) -> dict[int, list[int]]:
    """Check tracks of either file, but for their masks; returns their indices by video."""
    by_video = defaultdict(list)
    for index, entry in enumerate(entries):
        try:
            by_video[_check_entry(entry, truth)].append(index)
        except ValueError as error:
            raise ValueError(f"{where(index)}: {error}") from error
    return by_video


def _check_entry(entry: dict[str, Any], truth: GroundTruth) -> int:
    """Check a track of either file, but for its masks; returns the id of its video."""
    video_id, category_id = _integer(entry, "video_id"), _integer(entry, "category_id")
    if video_id not in truth.videos:
        raise ValueError(f"the ground truth has no video {video_id}")
    if category_id not in truth.categories:
        known = ", ".join(map(str, truth.categories))
        raise ValueError(f"the ground truth has no category {category_id}, only {known}")
    segmentations, length = entry.get("segmentations"), truth.videos[video_id].length
    if not isinstance(segmentations, list):
        raise ValueError("'segmentations' must be a list")
    if len(segmentations) != length:
        raise ValueError(f"{len(segmentations)} segmentations for a video of {length} frames")
    return video_id


def _annotated_area(areas: Any) -> float:
    """The area of an annotation by its ``areas``, which count more than those of the masks.

    It is the mean over the frames where it has any; in the others the object is not visible.
    """
    if not isinstance(areas, list) or not all(a is None or _is_finite(a) for a in areas):
        raise ValueError("'areas' must be a list of finite numbers and null")
    present = [area for area in areas if area]
    return float(np.mean(present)) if present else 0.0


def _warn_about_track_ids(annotations: list[dict[str, Any]], name: str) -> None:
    ids = [entry.get("id") for entry in annotations]
    valid = {i for i in ids if isinstance(i, numbers.Integral) and i > 0}
    if len(valid) < len(ids):
        logger.warning(
            "%s: %d of %d track ids are missing, below 1 or used twice; the tracks are numbered "
            "anew here, but the official evaluation loses such tracks.",
            name,
            len(ids) - len(valid),
            len(ids),
        )


def _by_id(entries: Any, where: str) -> dict[int, dict[str, Any]]:
    """Entries by their ``id``, which must be unique, in ascending order."""
    by_id = {}
    for index, entry in enumerate(_list_of_dicts(entries, where)):
        with _naming(f"{where}, entry number {index}"):
            entry_id = _integer(entry, "id")
        if entry_id in by_id:
            raise ValueError(f"{where}: the id {entry_id} occurs twice")
        by_id[entry_id] = entry
    return dict(sorted(by_id.items()))


def _list_of_dicts(value: Any, where: str) -> list[dict[str, Any]]:
    if not isinstance(value, list):
        raise ValueError(f"{where} must be a list, not {type(value).__name__}")
    for index, entry in enumerate(value):
        if not isinstance(entry, dict):
            raise ValueError(f"{where}: entry number {index} must be an object")
    return value


def _is_finite(value: Any) -> bool:
    """Whether it is a number that fits into a float."""
    # Python's integers have no end.
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    return is_number and abs(value) <= sys.float_info.max


def _integer(entry: dict[str, Any], key: str) -> int:
    value = entry.get(key)
    if type(value) is int:
        return value
    if isinstance(value, numbers.Real) and not isinstance(value, bool) and value == value // 1:
        return int(value)
    raise ValueError(f"'{key}' must be an integer, not {value!r}")


@contextmanager
def _naming(where: str) -> Iterator[None]:
    """Name the place in the messages of errors."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
