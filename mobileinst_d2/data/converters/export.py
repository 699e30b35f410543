"""YouTube-VIS files to other formats: pictures of object numbers, and COCO files of the frames."""

import posixpath
from collections.abc import Callable, Iterable
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image
from pycocotools import mask as mask_util

from mobileinst_d2.utils.files import replacing, write_json
from mobileinst_d2.utils.visualizer import instance_color

from ..datasets.ytvis_format import (
    check_kind,
    read_categories,
    read_tracks,
    read_videos,
    stop_at_error,
)

__all__ = ["CLASS_FILE", "export_coco", "export_id_masks"]

# Stands beside the folders of masks and names the classes of their objects.
CLASS_FILE = "classes.json"
# More objects than this need pictures of 16 bits: 255 marks what nobody annotated.
_MAX_IN_PALETTE = 254


def export_coco(content: Any) -> dict[str, Any]:
    """The COCO file of the frames of all videos.

    Args:
        content: the content of a YouTube-VIS annotation file.

    Returns:
        What ``json.dump`` writes. Images have ``video_id`` and ``frame_id``, from 0; annotations
        have ``track_id``, the id of the track in the file.

    Raises:
        ValueError: the file is malformed.
    """
    coco: dict[str, Any] = {"images": [], "categories": [], "annotations": []}
    for video in _read(content):
        first = len(coco["images"]) + 1
        coco["images"] += [
            {
                "id": first + frame,
                "file_name": name,
                "height": video["height"],
                "width": video["width"],
                "video_id": video["video_id"],
                "frame_id": frame,
            }
            for frame, name in enumerate(video["file_names"])
        ]
        for track in video["tracks"]:
            for frame, rle in enumerate(track["segmentations"]):
                if rle is not None:
                    coco["annotations"].append(
                        {
                            "id": len(coco["annotations"]) + 1,
                            "image_id": first + frame,
                            "category_id": track["category_id"],
                            "track_id": track["id"],
                            "iscrowd": track["iscrowd"],
                            "segmentation": rle,
                            "bbox": track["bboxes"][frame],
                            "area": track["areas"][frame],
                        }
                    )
    coco["categories"] = content["categories"]
    return coco


def export_id_masks(
    content: Any,
    output_dir: Path,
    progress: Callable[[Iterable[dict]], Iterable[dict]] = iter,
) -> int:
    """Write one picture of object numbers per frame, as in DAVIS.

    The objects of a video are numbered from 1 in the order of the file. Pictures have a palette, or
    are grey with 16 bits in videos of more than 254 objects. A pixel of several objects goes to the
    first. ``classes.json`` in the folder names the classes.

    Args:
        content: the content of a YouTube-VIS annotation file.
        output_dir: folder to write to; a frame ``a/0.jpg`` becomes ``a/0.png``.
        progress: wraps the list of videos, such as tqdm.

    Returns:
        How many pixels were lost: how often a pixel belongs to another object before.

    Raises:
        OSError: a picture cannot be written.
        ValueError: the file is malformed, or two videos share a folder.
    """
    videos = _read(content)
    names = read_categories(content, stop_at_error)
    by_folder: dict[str, dict[int, str]] = {}
    for video in videos:
        folder = _folder_of(video)
        if folder in by_folder:
            raise ValueError(
                f"video {video['video_id']}: another video has frames in the folder {folder!r}, "
                "too, where their object numbers would mean different objects"
            )
        by_folder[folder] = {
            number: names[track["category_id"]]
            for number, track in enumerate(video["tracks"], start=1)
        }
    lost = sum(_write_video(video, output_dir) for video in progress(videos))
    write_json(output_dir / CLASS_FILE, {"classes": list(names.values()), "videos": by_folder})
    return lost


def _read(content: Any) -> list[dict]:
    """Checked videos, each with its ``tracks``."""
    check_kind(content, stop_at_error)
    names = read_categories(content, stop_at_error)
    videos = read_videos(content, stop_at_error)
    for video in videos.values():
        video["tracks"] = []
    for _, track in read_tracks(content, videos, names, stop_at_error):
        videos[track["video_id"]]["tracks"].append(track)
    return list(videos.values())


def _folder_of(video: dict) -> str:
    """The one folder of a video's frames, which must lie below the image root."""
    folders = {posixpath.dirname(name) or "." for name in video["file_names"]}
    what = f"video {video['video_id']}"
    if len(folders) > 1:
        raise ValueError(f"{what} has frames in several folders: {', '.join(sorted(folders))}")
    (folder,) = folders
    if PurePosixPath(folder).is_absolute() or ".." in PurePosixPath(folder).parts:
        raise ValueError(f"{what} has frames outside of the image root: {folder}")
    if len({posixpath.splitext(name)[0] for name in video["file_names"]}) < video["length"]:
        raise ValueError(f"{what} has two frames of one name")
    return folder


def _write_video(video: dict, output_dir: Path) -> int:
    """Write the pictures of one video; the number of pixels that were lost."""
    count = len(video["tracks"])
    dtype = np.uint8 if count <= _MAX_IN_PALETTE else np.uint16
    palette = [0, 0, 0]
    for number in range(1, min(count, _MAX_IN_PALETTE) + 1):
        palette += reversed(instance_color(number))
    lost = 0
    for frame, name in enumerate(video["file_names"]):
        ids = np.zeros((video["height"], video["width"]), dtype)
        for number, track in enumerate(video["tracks"], start=1):
            if track["segmentations"][frame] is not None:
                mask = mask_util.decode(track["segmentations"][frame]).astype(bool)
                lost += int(np.count_nonzero(ids[mask]))
                ids[mask & (ids == 0)] = number
        picture = Image.fromarray(ids)
        if dtype == np.uint8:
            picture.putpalette(palette)
        path = output_dir / Path(name).with_suffix(".png")
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            picture.save(partial, format="png")
    return lost
