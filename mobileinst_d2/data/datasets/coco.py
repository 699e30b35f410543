"""Registration and loading of COCO annotation files, whoever has registered them."""

import difflib
import os

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BoxMode

from mobileinst_core.coco.records import load_records
from mobileinst_core.errors import ConfigError, UserError, naming

from .builtin import builtin_names, module_of
from .registration import local_annotation_file, register_file, set_classes, take_records

__all__ = ["load_coco_json", "load_images", "register_coco_json"]

# The module of the loaders that Detectron2's ``register_coco_instances`` makes.
_DETECTRON2_LOADER = "detectron2.data.datasets.coco"


def register_coco_json(
    name: str, json_file: str | os.PathLike, image_root: str | os.PathLike
) -> None:
    """Register a data set in COCO format, which is read with `load_coco_json`.

    Nothing is read before the data set is used. Registering the same paths again does nothing.

    Args:
        name: name for ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        json_file: annotation file.
        image_root: folder to which the file names in it are relative.

    Raises:
        ConfigError: if the name is registered with other paths.
    """
    register_file(name, "coco", load_coco_json, json_file, image_root)


def load_coco_json(
    json_file: str | os.PathLike, image_root: str | os.PathLike, dataset_name: str | None = None
) -> list[dict]:
    """Read an annotation file in COCO format, with the checks of `mobileinst_core.coco`.

    Takes the place of Detectron2's function of this name, and returns the same for a sound file
    of instances.

    Args:
        json_file: annotation file; a path or an address that Detectron2's ``PathManager`` knows.
        image_root: folder to which the file names in it are relative.
        dataset_name: if given, the class names and the map of category ids go into the metadata
            of that data set.

    Returns:
        Records in Detectron2's standard format, by ascending image id.

    Raises:
        UserError: there is no such file, its content is of another kind, incomplete or
            inconsistent, or its classes are not those known for the data set; the message names
            the file and the entry.
    """
    try:
        path = local_annotation_file(json_file, dataset_name)
    except UserError as error:
        if dataset_name is None or not dataset_name.startswith("coco_"):
            raise
        root = "and DETECTRON2_DATASETS to the folder that holds the data sets"
        raise UserError(f"{error}, {root}") from error
    records, classes = load_records(path, image_root)
    for record in records:
        for annotation in record["annotations"]:
            annotation["bbox_mode"] = BoxMode.XYWH_ABS
    if dataset_name is not None:
        with naming(json_file):
            set_classes(dataset_name, classes)
    return records


def load_images(name: str) -> list[dict]:
    """Load a registered data set of images, with the errors of `load_coco_json`.

    COCO files that were registered with Detectron2's ``register_coco_instances``, as the public
    ones are, are read with `load_coco_json` too.

    Returns:
        Records in Detectron2's standard format.

    Raises:
        ConfigError: if there is no such data set; the message has the closest names.
    """
    if name not in DatasetCatalog:
        known = [*DatasetCatalog.list(), *builtin_names()]
        close = ", ".join(difflib.get_close_matches(name, dict.fromkeys(known)))
        raise ConfigError(
            f"There is no data set '{name}'{'; the closest names are ' if close else ''}{close}. "
            "Correct DATASETS.TRAIN or DATASETS.TEST, or list its files in DATASETS.CUSTOM"
        )
    records = take_records(name)
    if records is not None:
        return records
    metadata = MetadataCatalog.get(name)
    paths = metadata.get("json_file"), metadata.get("image_root")
    if module_of(DatasetCatalog[name]) == _DETECTRON2_LOADER and None not in paths:
        return load_coco_json(*paths, name)
    return DatasetCatalog.get(name)
