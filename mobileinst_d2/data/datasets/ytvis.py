"""Registration of YouTube-VIS annotation files with Detectron2."""

import os
from typing import Any

from mobileinst_core.errors import naming
from mobileinst_core.ytvis.records import load_records

from .registration import local_annotation_file, register_file, set_classes

__all__ = ["load_ytvis_json", "register_ytvis_instances"]


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
        ConfigError: if the name is registered with other paths.
    """
    register_file(name, "ytvis", load_ytvis_json, json_file, image_root, **metadata)


def load_ytvis_json(
    json_file: str | os.PathLike, image_root: str | os.PathLike, dataset_name: str | None = None
) -> list[dict]:
    """Read an annotation file in the format of YouTube-VIS.

    Args:
        json_file: annotation file; a path or an address that Detectron2's ``PathManager`` knows.
        image_root: folder to which the file names in it are relative.
        dataset_name: if given, the class names and the map of category ids go into the metadata
            of that data set.

    Returns:
        The records that :func:`mobileinst_core.ytvis.records.load_records` describes.

    Raises:
        UserError: there is no such file, its content is of another kind, incomplete or
            inconsistent, or its classes are not those known for the data set; the message names
            the file and the entry.
    """
    path = local_annotation_file(json_file, dataset_name)
    records, classes = load_records(path, image_root)
    if dataset_name is not None:
        with naming(json_file):
            set_classes(dataset_name, classes)
    return records
