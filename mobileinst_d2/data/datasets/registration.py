"""What registrations of all formats share."""

import functools
import os
from collections.abc import Callable, Iterable
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.utils.file_io import PathManager

from mobileinst_core.errors import ConfigError, UserError

__all__ = [
    "drop_records",
    "keep_records",
    "local_annotation_file",
    "register_file",
    "set_classes",
    "take_records",
]

# Records by the names of data sets, and what tells whether they are still those of the file.
_kept: dict[str, tuple[Any, list[dict]]] = {}


def keep_records(name: str, records: list[dict]) -> None:
    """Keep the records of a data set that was read for the names of its classes alone."""
    _kept[name] = _origin(name), records


def take_records(name: str) -> list[dict] | None:
    """The records that were kept, once; None if there are none of this registration and file."""
    if name not in _kept:
        return None
    origin, records = _kept.pop(name)
    return records if origin == _origin(name) else None


def drop_records(names: Iterable[str]) -> None:
    """Do not keep records of these data sets any longer."""
    for name in names:
        _kept.pop(name, None)


def _origin(name: str) -> tuple:
    json_file = MetadataCatalog.get(name).get("json_file")
    is_local = json_file is not None and os.path.isfile(json_file)
    status = os.stat(json_file) if is_local else None
    return DatasetCatalog[name], status and (status.st_mtime_ns, status.st_size)


def register_file(
    name: str,
    kind: str,
    load: Callable[[str, str, str], list[dict]],
    json_file: str | os.PathLike,
    image_root: str | os.PathLike,
    **metadata: Any,
) -> None:
    """Register an annotation file; the same one again does nothing.

    Args:
        name: name for ``DATASETS.TRAIN`` and ``DATASETS.TEST``.
        kind: of the evaluator, "coco" or "ytvis".
        load: reads the file when the data set is used; takes the file, the folder and the name.
        json_file: annotation file.
        image_root: folder to which the file names in it are relative.
        **metadata: further metadata.

    Raises:
        ConfigError: if the name means another file, folder or kind.
    """
    paths = {"json_file": os.fspath(json_file), "image_root": os.fspath(image_root)}
    fields = {**paths, "evaluator_type": kind}
    if name in DatasetCatalog:
        _check_same(name, fields)
        return
    DatasetCatalog.register(name, functools.partial(load, *paths.values(), name))
    MetadataCatalog.get(name).set(**fields, **metadata)


def _check_same(name: str, fields: dict[str, str]) -> None:
    registered = MetadataCatalog.get(name).as_dict()
    for key, value in fields.items():
        if registered.get(key) != value:
            known = f" with {key} {registered[key]!r}" if key in registered else ""
            raise ConfigError(
                f"Dataset '{name}' is already registered{known}; it cannot be registered again "
                f"with {key} {value!r}. Use another name."
            )


def local_annotation_file(json_file: str | os.PathLike, dataset_name: str | None) -> str:
    """The path of an annotation file on this machine.

    Args:
        json_file: a path, or an address that Detectron2's ``PathManager`` knows.
        dataset_name: named in the error.

    Raises:
        UserError: there is no such file.
    """
    json_file = os.fspath(json_file)
    if not PathManager.isfile(json_file):
        owner = f" of dataset '{dataset_name}'" if dataset_name else ""
        advice = "Correct the path, or put the file there"
        if not os.path.isabs(json_file) and "://" not in json_file:
            advice += f"; it is relative to {os.getcwd()}"
        raise UserError(f"The annotation file{owner} does not exist: {json_file}. {advice}")
    return PathManager.get_local_path(json_file)


def set_classes(dataset_name: str, classes: dict[int, str]) -> None:
    """Put the classes of an annotation file into the metadata of a data set.

    Args:
        dataset_name: a registered name.
        classes: class names by category id, in the order of the contiguous indices.

    Raises:
        UserError: other classes are known for the data set.
    """
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
