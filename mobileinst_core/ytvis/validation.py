"""Everything that is wrong with a YouTube-VIS annotation file and its frames."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from mobileinst_core.annotation_checks import check_category_names, compare_with_mask
from mobileinst_core.entries import Finding
from mobileinst_core.video.images import ImageReadError, ImageSizeError, read_image

from .annotations import AnnotationFile, Video
from .classes import THING_CLASSES

__all__ = ["check_content", "check_frames"]


def check_content(content: Any) -> tuple[list[Finding], list[Video]]:
    """Find all faults of an annotation file.

    Errors are what the loader refuses, and what makes training or evaluation wrong; warnings are
    what both skip.

    Args:
        content: the content of the JSON file.

    Returns:
        The findings in the order of the file, and the videos whose frames can be checked with
        :func:`check_frames`.
    """
    findings: list[Finding] = []
    file = AnnotationFile(content, findings.append)
    findings += _check_classes(file.categories)
    usable = [video for video in file.videos.values() if video and video.file_names]
    for video in usable:
        findings += _check_frame_names(video)
    trainable: set[int] = set()
    for entry, track in file.tracks():
        findings += _check_track(entry, track)
        if any(track["segmentations"]) and not track["iscrowd"]:
            trainable.add(track["video_id"])
    for video in usable if file.has_tracks else ():
        if video.id not in trainable:
            message = (
                f"video {video.id} has no visible object that is not a crowd; training leaves it "
                "out"
            )
            findings.append(Finding("videos", message, is_error=False))
    return findings, usable


def check_frames(video: Video, image_root: str | os.PathLike, *, decode: bool) -> list[Finding]:
    """Find what is wrong with the frames of a video on disk.

    Args:
        video: one from :func:`check_content`.
        image_root: folder to which its file names are relative.
        decode: read every image, as training does, and compare its size; otherwise only look
            whether the file exists.

    Returns:
        At most one finding for the missing frames and one for those with swapped sides, and one
        for each frame that is damaged or of another size.
    """
    what, names, size = f"video {video.id}", video.file_names, (video.height, video.width)
    paths = {name: Path(image_root) / name for name in names}
    missing = [name for name in names if not paths[name].is_file()]
    findings, transposed = [], []
    if len(missing) == len(names):
        message = f"{what}: none of its {len(names)} frames exists, such as {paths[names[0]]}"
        findings.append(Finding("frames", message))
    elif missing:
        message = f"{what}: {len(missing)} of {len(names)} frames are missing: {', '.join(missing)}"
        findings.append(Finding("frames", message))
    for name in [name for name in names if name not in missing] if decode else ():
        try:
            if read_image(paths[name]).shape[:2] == size:
                continue
            read_image(paths[name], size=size, allow_transposed=True)
            transposed.append(name)
        except (ImageReadError, ImageSizeError) as error:
            findings.append(Finding("frames", f"{what}: {error}"))
    if transposed:
        message = (
            f"{what}: {len(transposed)} of {len(names)} frames have their sides swapped on "
            f"disk; the loader transposes them: {', '.join(transposed)}"
        )
        findings.append(Finding("frames", message, is_error=False))
    return findings


def _check_classes(categories: dict[int, str]) -> list[Finding]:
    findings = check_category_names(categories)
    for dataset, classes in THING_CLASSES.items():
        known = dict(enumerate(classes, start=1))
        if 1 < len(categories) < len(known) and categories.items() <= known.items():
            message = (
                f"these are {len(categories)} of the {len(known)} categories of {dataset}; a part "
                "of a data set must keep the whole list, or class indices and metrics change"
            )
            findings.append(Finding("categories", message, is_error=False))
            break
    return findings


def _check_frame_names(video: Video) -> list[Finding]:
    repeated = [name for name, count in Counter(video.file_names).items() if count > 1]
    if not repeated:
        return []
    message = f"video {video.id} lists frames more than once: {', '.join(repeated)}"
    return [Finding("videos", message, is_error=False)]


def _check_track(entry: dict, track: dict) -> list[Finding]:
    what = f"annotation {track['id']} of video {track['video_id']}"
    findings = []
    if track["id"] < 1:
        message = f"{what}: the official evaluation loses tracks with an id below 1"
        findings.append(Finding("annotations", message))
    if not any(track["segmentations"]):
        message = f"{what} is not visible in any frame, but counts as missed in evaluation"
        findings.append(Finding("annotations", message))
    for frame, rle in enumerate(track["segmentations"]):
        where = f"{what}, frame {frame}"
        if rle is not None:
            box, area = track["bboxes"][frame], track["areas"][frame]
            findings += compare_with_mask(box, area, rle, where)
        elif entry["segmentations"][frame] is None and _has_extent(entry.get("bboxes"), frame):
            message = f"{where}: there is a box but no mask; the object counts as not visible"
            findings.append(Finding("boxes and areas", message, is_error=False))
    return findings


def _has_extent(boxes: Any, frame: int) -> bool:
    """Whether the boxes, which may be damaged or absent, hold one with an area for a frame."""
    box = boxes[frame] if isinstance(boxes, list) and frame < len(boxes) else None
    return isinstance(box, list) and len(box) == 4 and bool(box[2]) and bool(box[3])
