"""YouTube-VIS annotation files to video records, and their registration with Detectron2."""

import functools
import json
import logging
import os
from collections import Counter
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.file_io import PathManager
from pycocotools import mask as mask_util

from mobileinst_d2.utils.rle import rle_area, to_rle

__all__ = ["load_ytvis_json", "register_ytvis_instances"]

_logger = logging.getLogger(__name__)


def register_ytvis_instances(
    name: str,
    metadata: dict[str, Any],
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
) -> None:
    """Register a data set in YouTube-VIS format, as ``register_coco_instances`` does for COCO.

    Nothing is read before the data set is used. Registering the same paths again does nothing.

    Args:
        name: name for ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        metadata: further metadata; class names are normally left to the annotation file.
        json_file: annotation file.
        image_root: folder to which the file names in it are relative.

    Raises:
        ValueError: if the name is registered with other paths.
    """
    json_file, image_root = os.fspath(json_file), os.fspath(image_root)
    paths = {"json_file": json_file, "image_root": image_root}
    if name in DatasetCatalog:
        check_same_registration(name, paths)
        return
    DatasetCatalog.register(name, functools.partial(load_ytvis_json, json_file, image_root, name))
    MetadataCatalog.get(name).set(evaluator_type="ytvis", **paths, **metadata)


def check_same_registration(name: str, fields: dict[str, str]) -> None:
    """Check that a registered name means the same data.

    Args:
        name: a registered name.
        fields: metadata that the registration must have.

    Raises:
        ValueError: if a field differs.
    """
    registered = MetadataCatalog.get(name).as_dict()
    for key, value in fields.items():
        if registered.get(key) != value:
            known = f" with {key} {registered[key]!r}" if key in registered else ""
            raise ValueError(
                f"Dataset '{name}' is already registered{known}; it cannot be registered again "
                f"with {key} {value!r}. Use another name."
            )


def load_ytvis_json(
    json_file: str | os.PathLike, image_root: str | os.PathLike, dataset_name: str | None = None
) -> list[dict]:
    """Read an annotation file in the format of YouTube-VIS, which OVIS and others share.

    Masks of any encoding become compressed RLE, which is small and tells without decoding whether
    an object is visible. All videos are kept, those without any track too. Category ids may have
    gaps and any order; they are numbered by ascending id.

    Args:
        json_file: annotation file.
        image_root: folder to which the file names in it are relative.
        dataset_name: if given, the class names and the map of category ids go into the metadata
            of that data set.

    Returns:
        one record per video: ``video_id``, ``height``, ``width``, ``length``, ``file_names`` (one
        path per frame) and ``tracks``, which is None if the file has no ground truth. A track has
        ``id``, ``category_id`` (contiguous, from 0), ``iscrowd`` and per frame ``segmentations``
        (compressed RLE, or None where invisible), ``bboxes`` (x, y, width, height in pixels) and
        ``areas`` (pixels).

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the content is of another kind, incomplete or inconsistent; the message
            names the file and the entry.
    """
    json_file = os.fspath(json_file)
    content = _read_json(json_file, dataset_name)
    try:
        _check_kind(content)
        categories = sorted(_index_by_id(content["categories"], "category").items())
        for category_id, category in categories:
            _require_keys(category, ("name",), f"category {category_id}")
        id_map = {category_id: index for index, (category_id, _) in enumerate(categories)}
        if dataset_name is not None:
            _set_classes(dataset_name, [category["name"] for _, category in categories], id_map)

        videos = _index_by_id(content["videos"], "video")
        records = {key: _read_video(video, image_root) for key, video in videos.items()}
        annotations = content.get("annotations")
        if annotations:
            _add_tracks(records, annotations, id_map)
    except ValueError as error:
        raise ValueError(f"{json_file}: {error}") from error

    _logger.info(
        "Loaded %d videos (%d frames, %s) in YouTube-VIS format from %s",
        len(records),
        sum(record["length"] for record in records.values()),
        f"{len(annotations)} tracks" if annotations else "no ground truth",
        json_file,
    )
    return list(records.values())


def _read_json(json_file: str, dataset_name: str | None) -> Any:
    if not PathManager.isfile(json_file):
        owner = f" of dataset '{dataset_name}'" if dataset_name else ""
        raise FileNotFoundError(f"The annotation file{owner} does not exist: {json_file}")
    with PathManager.open(json_file, "r", encoding="utf-8") as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise ValueError(f"{json_file} is not valid JSON: {error}") from error


def _check_kind(content: Any) -> None:
    """Recognise the files that are most often taken for a YouTube-VIS annotation file."""
    if not isinstance(content, dict):
        raise ValueError(
            f"expected a JSON object with videos and categories, got a {type(content).__name__}; "
            "a list is the format of results, not of annotations"
        )
    if isinstance(content.get("videos"), dict):
        raise ValueError(
            "this looks like the meta.json of YouTube-VOS, which has no categories; "
            "take the annotation file of YouTube-VIS (instances.json or train.json)"
        )
    if "images" in content:
        raise ValueError(
            "this has a list of images: it is a COCO (or converted CocoVID) file. Register COCO "
            "files with the format 'coco'; of videos take the original YouTube-VIS file"
        )
    _require_keys(content, ("videos", "categories"), "the annotation file")


def _require_keys(entry: Any, keys: tuple[str, ...], what: str) -> None:
    if not isinstance(entry, dict):
        raise ValueError(f"{what} must be a mapping, got {type(entry).__name__}")
    missing = [key for key in keys if key not in entry]
    if missing:
        raise ValueError(f"{what} has no {', '.join(map(repr, missing))}")


def _index_by_id(entries: Any, what: str) -> dict[int, dict]:
    if not isinstance(entries, list) or not entries:
        raise ValueError(f"there must be a list with at least one {what}")
    for position, entry in enumerate(entries):
        _require_keys(entry, ("id",), f"{what} at position {position}")
        if not isinstance(entry["id"], int):
            raise ValueError(f"{what} ids must be integers, got {entry['id']!r}")
    repeated = [key for key, count in Counter(e["id"] for e in entries).items() if count > 1]
    if repeated:
        raise ValueError(f"the {what} id {repeated[0]} occurs more than once")
    return {entry["id"]: entry for entry in entries}


def _set_classes(dataset_name: str, names: list[str], id_map: dict[int, int]) -> None:
    metadata = MetadataCatalog.get(dataset_name)
    for key, value in (("thing_classes", names), ("thing_dataset_id_to_contiguous_id", id_map)):
        known = metadata.get(key)
        if known is not None and known != value:
            raise ValueError(
                f"the categories of the file differ from those known for dataset "
                f"'{dataset_name}': {_first_difference(list(value), list(known))}. Register the "
                "file under a name of its own with DATASETS.CUSTOM"
            )
        metadata.set(**{key: value})


def _first_difference(found: list, expected: list) -> str:
    for position, (a, b) in enumerate(zip(found, expected, strict=False)):
        if a != b:
            return f"at position {position} the file has {a!r}, expected {b!r}"
    return f"the file has {len(found)} categories, expected {len(expected)}"


def _read_video(video: dict, image_root: str | os.PathLike) -> dict:
    what = f"video {video['id']}"
    _require_keys(video, ("height", "width", "file_names"), what)
    file_names = video["file_names"]
    if not file_names:
        raise ValueError(f"{what} has no frames")
    length = video.get("length", len(file_names))
    if length != len(file_names):
        raise ValueError(f"{what} has length {length} but {len(file_names)} file names")
    return {
        "video_id": video["id"],
        "height": video["height"],
        "width": video["width"],
        "length": length,
        "file_names": [os.path.join(image_root, name) for name in file_names],
        "tracks": None,
    }


def _add_tracks(records: dict[int, dict], annotations: list[dict], id_map: dict[int, int]) -> None:
    """Add the tracks to the records, in place."""
    for record in records.values():
        record["tracks"] = []
    num_parts = 0
    for track_id, annotation in _index_by_id(annotations, "annotation").items():
        what = f"annotation {track_id}"
        _require_keys(annotation, ("video_id", "category_id", "segmentations"), what)
        record = records.get(annotation["video_id"])
        if record is None:
            raise ValueError(f"{what} belongs to video {annotation['video_id']}, which is missing")
        if annotation["category_id"] not in id_map:
            raise ValueError(
                f"{what} has category_id {annotation['category_id']}, which is not in the "
                "categories of the file"
            )
        what = f"{what} of video {record['video_id']}"
        segmentations, dropped = _read_segmentations(annotation["segmentations"], record, what)
        num_parts += dropped
        record["tracks"].append(
            {
                "id": track_id,
                "category_id": id_map[annotation["category_id"]],
                "iscrowd": int(annotation.get("iscrowd") or 0),
                "segmentations": segmentations,
                **_read_boxes_and_areas(annotation, segmentations, record, what),
            }
        )
    if num_parts:
        _logger.warning("Dropped %d polygons with fewer than three points", num_parts)


def _read_segmentations(
    segmentations: Any, record: dict, what: str
) -> tuple[list[dict | None], int]:
    """Bring the masks of a track into one form; also count the polygons that are left out."""
    _check_length(segmentations, "segmentations", record, what)
    result, dropped = [], 0
    for frame, segmentation in enumerate(segmentations):
        try:
            result.append(to_rle(segmentation, record["height"], record["width"]))
        except ValueError as error:
            raise ValueError(f"{what}, frame {frame}: {error}") from error
        if isinstance(segmentation, list):
            dropped += sum(len(polygon) < 6 for polygon in segmentation)
    return result, dropped


def _check_length(values: Any, key: str, record: dict, what: str) -> None:
    if not isinstance(values, list) or len(values) != record["length"]:
        size = len(values) if isinstance(values, list) else f"no list ({values!r})"
        raise ValueError(
            f"{what}: the video has {record['length']} frames but '{key}' has {size} entries"
        )


def _read_boxes_and_areas(
    annotation: dict, rles: list[dict | None], record: dict, what: str
) -> dict[str, list]:
    """Boxes and areas as given, or from the masks where the file has none."""
    from_mask = {"bboxes": lambda rle: mask_util.toBbox(rle).tolist(), "areas": rle_area}
    result = {}
    for key, compute in from_mask.items():
        given = annotation.get(key)
        if given is None:
            given = [None] * len(rles)
        _check_length(given, key, record, what)
        result[key] = [
            None if rle is None else compute(rle) if value is None else value
            for value, rle in zip(given, rles, strict=True)
        ]
    return result
