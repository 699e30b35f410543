"""YouTube-VIS files prepared for the metric.

Ground truth is an annotation file; results are a list with one entry per predicted track::

    {"video_id": int, "category_id": int, "score": float, "segmentations": [RLE | null] * length}
"""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from typing import Any

import numpy as np

from mobileinst_core.entries import Finding, is_finite, stop_at_error
from mobileinst_core.errors import UserError, naming
from mobileinst_core.masks.rle import MaskError, to_rles

from .annotations import AnnotationFile, TrackEntry, Video, read_track_entry
from .reading import read_tracks_json
from .track_masks import TrackMasks, read_masks

__all__ = [
    "GroundTruth",
    "Results",
    "Track",
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
        tracks: the annotated tracks in the order of the file; empty if the file has no
            annotations, as those of the public validation and test sets.
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
        UserError: the file cannot be read or is malformed; the message names the file and the
            entry.
    """

    def report(finding: Finding) -> None:
        if finding.in_metric:
            stop_at_error(finding)

    content, name = _read(source, "ground truth")
    with naming(name):
        file = AnnotationFile(content, report)
        entries = list(file.track_entries())
        tracks = [
            Track(
                entry.video.id,
                entry.category_id,
                masks,
                masks.area if entry.areas is None else _mean_area(entry.areas),
                is_crowd=entry.is_crowd,
            )
            for entry, masks in zip(entries, read_masks(entries), strict=True)
        ]
    lost = sum(entry.track_id is None or entry.track_id < 1 for entry in entries)
    if lost:
        logger.warning(
            "%s: %d of %d track ids are missing, below 1 or used twice; the tracks are "
            "renumbered here, but the official evaluation loses such tracks.",
            name,
            lost,
            len(entries),
        )
    categories = {key: class_name or str(key) for key, class_name in file.categories.items()}
    return GroundTruth(dict(sorted(file.videos.items())), categories, tracks)


class Results:
    """Checked predicted tracks, of which the masks are read as they are needed."""

    def __init__(self, entries: Any, truth: GroundTruth, name: str) -> None:
        """Check everything but the masks.

        Args:
            entries: of the results format.
            truth: the ground truth to which the ids belong.
            name: of the file, for messages.

        Raises:
            UserError: an entry is malformed.
        """
        if not isinstance(entries, list):
            raise UserError(f"{name} must be a list of tracks, not {type(entries).__name__}")
        self._by_video: dict[int, list[TrackEntry]] = {video_id: [] for video_id in truth.videos}
        for index, entry in enumerate(entries):
            where = f"{name}: entry number {index}"
            if isinstance(entry, dict):
                where += f" (video {entry.get('video_id')})"
            track = read_track_entry(entry, where, truth.videos, truth.categories, stop_at_error)
            if not is_finite(entry.get("score")):
                raise UserError(
                    f"{where}: 'score' must be a finite number, not {entry.get('score')!r}"
                )
            self._by_video[track.video.id].append(track)

    def by_video(self) -> Iterator[tuple[int, list[Track]]]:
        """Read the predicted tracks.

        Yields:
            The id of each video of the ground truth, and its tracks in the order of the file.

        Raises:
            UserError: a mask is malformed; the message names the file, the entry and the frame.
        """
        masks = read_masks(chain.from_iterable(self._by_video.values()))
        for video_id, entries in self._by_video.items():
            tracks = []
            for entry in entries:
                own, score = next(masks), float(entry.entry["score"])
                tracks.append(Track(video_id, entry.category_id, own, own.area, score=score))
            yield video_id, tracks

    def entries(self) -> list[dict[str, Any]]:
        """The tracks in the results format, ordered by video, with compressed masks.

        Raises:
            UserError: a mask is malformed; the message names the file, the entry and the frame.
        """
        entries = []
        for track in chain.from_iterable(self._by_video.values()):
            try:
                rles = to_rles(track.segmentations, track.video.height, track.video.width)
            except MaskError as error:
                raise UserError(f"{track.name}, frame {error.index}: {error}") from error
            entries.append(
                {
                    "video_id": track.video.id,
                    "category_id": track.category_id,
                    "score": float(track.entry["score"]),
                    "segmentations": rles,
                }
            )
        return entries


def load_results(source: str | PathLike[str] | list[dict[str, Any]], truth: GroundTruth) -> Results:
    """Read predicted tracks in the format that the evaluation servers take.

    Masks may also be polygons or uncompressed RLE, and further keys are ignored.

    Args:
        source: path of the JSON file, or its content.
        truth: the ground truth to which the ids belong.

    Returns:
        The tracks by video.

    Raises:
        UserError: the file cannot be read, is malformed, or names a video or category that
            ``truth`` does not have; the message names the file and the entry.
    """
    content, name = _read(source, "results")
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
        MaskError: a mask is malformed, or has another size.
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


def _read(source: Any, what: str) -> tuple[Any, str]:
    """The content of a JSON file, or the given content, and a name for error messages."""
    if isinstance(source, str | PathLike):
        return read_tracks_json(source), str(source)
    return source, what


def _mean_area(areas: list[float | None]) -> float:
    """The area of an annotation by its ``areas``, which count more than those of the masks.

    It is the mean over the frames where it has any; in the others the object is not visible.
    """
    present = [area for area in areas if area]
    return float(np.mean(present)) if present else 0.0
