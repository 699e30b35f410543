"""Parting the videos of an annotation file into a training and a validation part."""

import hashlib
import logging
import posixpath
from collections import Counter
from typing import Any

from mobileinst_core.errors import UserError

from .annotations import AnnotationFile, Video

__all__ = ["split_videos"]

_logger = logging.getLogger(__name__)


def split_videos(
    content: Any, *, val_fraction: float = 0.1, seed: int = 0, max_videos: int | None = None
) -> tuple[dict, dict]:
    """Part the videos of a file in two.

    The order of the videos is that of a hash of the seed and the folder of their frames, so a
    video's place depends neither on its position in the file nor on the order of the tracks.
    First, validation gets videos, those with most missing categories first, until it has every
    category that at least two videos show; then it is filled up to its fraction. A video that is
    the last of such a category in training stays there, and one that alone shows a category does
    where there is a choice. This greedy choice rarely fails where a split exists; categories that
    validation lacks are logged. Crowds and tracks without a mask do not count.

    Args:
        content: the content of an annotation file with ground truth.
        val_fraction: part of the videos for validation, in (0, 1). Validation gets more if the
            categories need it.
        seed: other seeds give other parts.
        max_videos: take this many videos only, for trials; those that show many categories first.

    Returns:
        The content of a training and of a validation file. Both have the whole list of categories
        and the entries of their videos as they were, in the order of the file.

    Raises:
        UserError: the file is malformed, has no ground truth or fewer than two videos, or an
            argument is out of range.
    """
    if not 0.0 < val_fraction < 1.0:
        raise UserError(f"the fraction for validation must lie between 0 and 1, not {val_fraction}")
    if max_videos is not None and max_videos < 2:
        raise UserError(f"{max_videos} videos cannot be split in two; take at least 2")
    file = AnnotationFile(content)
    names, videos = file.categories, file.videos
    if not file.has_tracks:
        raise UserError(
            "there are no annotations; split the training file, the only one with ground truth"
        )
    if len(videos) < 2:
        raise UserError("there is only one video; it cannot be split")
    shown: dict[int, set[int]] = {video_id: set() for video_id in videos}
    for _, track in file.tracks():
        if not track["iscrowd"] and any(track["segmentations"]):
            shown[track["video_id"]].add(track["category_id"])

    order = sorted(videos, key=lambda video_id: _hash_key(videos[video_id], seed))
    if max_videos is not None:
        order = _cover(order, shown, max_videos)
    val = _choose_validation(order, shown, max(1, round(val_fraction * len(order))))
    _report_missing(val, order, shown, names)
    return _part(content, set(order) - val), _part(content, val)


def _hash_key(video: Video, seed: int) -> tuple[str, ...]:
    """Sort key of a video; clips whose frames share a folder come one after the other."""
    first = video.file_names[0]
    return tuple(
        hashlib.sha256(f"{seed}/{name}".encode()).hexdigest()
        for name in (posixpath.dirname(first), first)
    )


def _cover(order: list[int], shown: dict[int, set[int]], number: int) -> list[int]:
    """Some of the videos, chosen so that many categories are shown twice if possible."""
    wanted = Counter({key: 2 for categories in shown.values() for key in categories})
    rest, chosen = list(order), []
    while rest and len(chosen) < number:
        # max takes the first of equals: the order decides.
        best = max(rest, key=lambda video: sum(wanted[key] > 0 for key in shown[video]))
        rest.remove(best)
        chosen.append(best)
        wanted.subtract(shown[best])
    return chosen


def _choose_validation(order: list[int], shown: dict[int, set[int]], number: int) -> set[int]:
    """The videos for validation: at least ``number`` if training can spare them."""
    left = Counter(key for video in order for key in shown[video])
    shared = {key for key, count in left.items() if count > 1}
    missing, val = set(shared), set()
    while True:
        spare = [
            video
            for video in order
            if video not in val and all(left[key] > 1 for key in shown[video] & shared)
        ]
        candidates = [video for video in spare if shown[video] & missing]
        if not candidates and len(val) < number:
            candidates = spare
        if not candidates:
            return val
        # min takes the first of equals: the order decides.
        best = min(
            candidates,
            key=lambda video: (len(shown[video] - shared), -len(shown[video] & missing)),
        )
        val.add(best)
        left.subtract(shown[best])
        missing -= shown[best]


def _report_missing(
    val: set[int], order: list[int], shown: dict[int, set[int]], names: dict[int, str]
) -> None:
    total = Counter(key for video in order for key in shown[video])
    in_val = set().union(*(shown[video] for video in val))
    missing = [names[key] for key in names if total[key] > 1 and key not in in_val]
    if missing:
        _logger.warning("Validation has no video with: %s", ", ".join(missing))


def _part(content: dict, video_ids: set[int]) -> dict:
    return {
        **content,
        "videos": [video for video in content["videos"] if video["id"] in video_ids],
        "annotations": [a for a in content["annotations"] if a["video_id"] in video_ids],
    }
