"""YouTube-VIS annotation files to video records, and their registration with Detectron2."""

import functools
import logging
import os
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.file_io import PathManager

from mobileinst_core.files import read_json
from mobileinst_core.ytvis.annotations import (
    Finding,
    check_kind,
    read_categories,
    read_tracks,
    read_videos,
    stop_at_error,
)

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
    if not PathManager.isfile(json_file):
        owner = f" of dataset '{dataset_name}'" if dataset_name else ""
        raise FileNotFoundError(f"The annotation file{owner} does not exist: {json_file}")
    content = read_json(json_file)
    bad_polygons = []

    def report(finding: Finding) -> None:
        stop_at_error(finding)
        bad_polygons.append(finding)

    try:
        check_kind(content, report)
        names = read_categories(content, report)
        id_map = {category_id: index for index, category_id in enumerate(names)}
        if dataset_name is not None:
            _set_classes(dataset_name, list(names.values()), id_map)
        records = read_videos(content, report)
        has_tracks = bool(content.get("annotations"))
        for record in records.values():
            record["file_names"] = [os.path.join(image_root, name) for name in record["file_names"]]
            record["tracks"] = [] if has_tracks else None
        for _, track in read_tracks(content, records, names, report):
            track["category_id"] = id_map[track["category_id"]]
            records[track.pop("video_id")]["tracks"].append(track)
    except ValueError as error:
        raise ValueError(f"{json_file}: {error}") from error

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
        f"{len(content['annotations'])} tracks" if has_tracks else "no ground truth",
        json_file,
    )
    return list(records.values())


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
