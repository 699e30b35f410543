"""The videos of a YouTube-VIS annotation file as records for training and inference."""

import logging
import math
import os
from typing import Any

from tqdm import tqdm

from mobileinst_core.entries import Finding, naming_annotations, stop_at_error
from mobileinst_core.masks.packed import PackedRles, PackedRows

from .annotations import AnnotationFile
from .reading import PROGRESS_DELAY, collection_paused, read_tracks_json

__all__ = ["load_records"]

_logger = logging.getLogger(__name__)


@collection_paused()
def load_records(
    json_file: str | os.PathLike, image_root: str | os.PathLike
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Read an annotation file in the format of YouTube-VIS, which OVIS and others share.

    Masks of any encoding become compressed RLE, which is small and tells without decoding whether
    an object is visible. All videos are kept, those without any track too. Category ids may have
    gaps and any order; they are numbered by ascending id.

    Args:
        json_file: annotation file.
        image_root: folder to which the file names in it are relative.

    Returns:
        One record per video and the class names by category id, in the order of the contiguous
        indices. A record has ``video_id``, ``height``, ``width``, ``length``, ``file_names`` (one
        path per frame) and ``tracks``, which is None if the file has no ground truth. A track has
        ``id``, ``category_id`` (contiguous, from 0), ``iscrowd`` and, as sequences that cannot be
        changed, per frame ``segmentations`` (compressed RLE, or None where invisible), ``bboxes``
        (x, y, width, height in pixels) and ``areas`` (pixels).

    Raises:
        UserError: the file cannot be read, or its content is of another kind, incomplete or
            inconsistent; the message names the file and the entry.
    """
    content = read_tracks_json(json_file)
    bad_polygons = []

    def report(finding: Finding) -> None:
        stop_at_error(finding)
        bad_polygons.append(finding)

    with naming_annotations(json_file):
        file = AnnotationFile(content, report)
        labels = {category_id: label for label, category_id in enumerate(file.categories)}
        records = {
            video.id: {
                "video_id": video.id,
                "height": video.height,
                "width": video.width,
                "length": video.length,
                "file_names": [os.path.join(image_root, name) for name in video.file_names],
                "tracks": [] if file.has_tracks else None,
            }
            for video in file.videos.values()
        }
        num_tracks = 0
        for _, track in tqdm(
            file.tracks(),
            desc=os.path.basename(json_file),
            total=file.num_tracks,
            unit="track",
            delay=PROGRESS_DELAY,
        ):
            track["id"] += 0  # a copy: the file's own number would keep the memory around it
            track["category_id"] = labels[track["category_id"]]
            record = records[track.pop("video_id")]
            size = record["height"], record["width"]
            track["segmentations"] = PackedRles(track["segmentations"], size)
            track["bboxes"] = PackedRows(track["bboxes"], [math.nan] * 4)
            track["areas"] = PackedRows(track["areas"], math.nan)
            record["tracks"].append(track)
            num_tracks += 1
    if bad_polygons:
        _logger.warning(
            "%s: %d polygons have fewer than three points and are left out",
            json_file,
            len(bad_polygons),
        )
    _logger.info(
        "Loaded %d videos (%d frames, %s) in YouTube-VIS format from %s",
        len(records),
        sum(record["length"] for record in records.values()),
        f"{num_tracks} tracks" if file.has_tracks else "no ground truth",
        json_file,
    )
    return list(records.values()), file.categories
