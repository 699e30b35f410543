"""Registration of YouTube-VIS annotation files with Detectron2."""

import functools
import os
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.file_io import PathManager

from mobileinst_core.errors import ConfigError, UserError, naming
from mobileinst_core.ytvis.records import load_records

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
        ConfigError: if a field differs.
    """
    registered = MetadataCatalog.get(name).as_dict()
    for key, value in fields.items():
        if registered.get(key) != value:
            known = f" with {key} {registered[key]!r}" if key in registered else ""
            raise ConfigError(
                f"Dataset '{name}' is already registered{known}; it cannot be registered again "
                f"with {key} {value!r}. Use another name."
            )


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
    json_file = os.fspath(json_file)
    if not PathManager.isfile(json_file):
        owner = f" of dataset '{dataset_name}'" if dataset_name else ""
        raise UserError(f"The annotation file{owner} does not exist: {json_file}")
    records, classes = load_records(PathManager.get_local_path(json_file), image_root)
    if dataset_name is not None:
        with naming(json_file):
            _set_classes(dataset_name, classes)
    return records


def _set_classes(dataset_name: str, classes: dict[int, str]) -> None:
    metadata = MetadataCatalog.get(dataset_name)
    id_map = {category_id: index for index, category_id in enumerate(classes)}
    for key, value in (
        ("thing_classes", list(classes.values())),
        ("thing_dataset_id_to_contiguous_id", id_map),
    ):
        known = metadata.get(key)
        if known is not None and known != value:
            raise UserError(
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
