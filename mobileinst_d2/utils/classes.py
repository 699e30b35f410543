"""Names of the classes that a trained model predicts, and their ids in its data set."""

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from mobileinst_core.errors import ConfigError, UserError
from mobileinst_core.files import read_json, replacing

__all__ = [
    "METADATA_FILE",
    "category_ids",
    "class_names",
    "class_names_of_weights",
    "save_class_names",
]

logger = logging.getLogger(__name__)

# Next to the weights, so that a model can be shown and exported without its dataset.
METADATA_FILE = "metadata.json"


def class_names(cfg: CfgNode) -> list[str]:
    """Find the class names of a model, without loading any dataset.

    Looks at ``metadata.json`` next to ``MODEL.WEIGHTS``, then at the registered metadata of the
    first dataset in ``DATASETS.TEST``. A list whose length is not ``MODEL.NUM_CLASSES`` belongs
    to another model and is skipped with a warning.

    Args:
        cfg: a config with this project's keys.

    Returns:
        ``MODEL.NUM_CLASSES`` names in the order of the contiguous class indices; "class 0",
        "class 1", ... when none are known.

    Raises:
        ConfigError: ``metadata.json`` is damaged.
    """
    count = cfg.MODEL.NUM_CLASSES
    from_weights = (
        f"{METADATA_FILE} next to MODEL.WEIGHTS",
        class_names_of_weights(cfg.MODEL.WEIGHTS),
    )
    for origin, names in (from_weights, _from_dataset(cfg)):
        if not names:
            continue
        if len(names) == count:
            return names
        logger.warning(
            "%s names %d classes, but MODEL.NUM_CLASSES is %d; the names are not used.",
            origin,
            len(names),
            count,
        )
    return [f"class {index}" for index in range(count)]


def class_names_of_weights(weights: str) -> list[str]:
    """Class names in the ``metadata.json`` next to a file of weights.

    Args:
        weights: path of the weights; may be empty.

    Returns:
        The names in the order of the contiguous class indices; none if there is no such file.

    Raises:
        ConfigError: ``metadata.json`` is damaged.
    """
    return _read_metadata(weights)[0]


def category_ids(cfg: CfgNode) -> list[int]:
    """Find the category ids that stand for a model's classes in result files.

    Looks where `class_names` looks.

    Args:
        cfg: a config with this project's keys.

    Returns:
        ``MODEL.NUM_CLASSES`` ids in the order of the contiguous class indices; 1, 2, ... with a
        warning when none are known.

    Raises:
        ConfigError: ``metadata.json`` is damaged.
    """
    count = cfg.MODEL.NUM_CLASSES
    for ids in (_read_metadata(cfg.MODEL.WEIGHTS)[1], _ids_of_dataset(cfg)):
        if len(ids) == count:
            return ids
    logger.warning(
        "The category ids of the data set are known neither from %s next to MODEL.WEIGHTS nor from "
        "DATASETS.TEST; the classes are numbered 1 to %d.",
        METADATA_FILE,
        count,
    )
    return list(range(1, count + 1))


def save_class_names(
    folder: str | Path, names: Sequence[str], category_ids: Sequence[int] = ()
) -> Path:
    """Write the file that `class_names` and `category_ids` look for.

    Args:
        folder: where the weights are; made if missing.
        names: class names in the order of the contiguous indices.
        category_ids: their ids in the data set, in the same order; none if they are unknown.

    Returns:
        The path of the file.
    """
    path = Path(folder) / METADATA_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {"thing_classes": list(names), "category_ids": list(category_ids)}
    with replacing(path) as partial:
        text = json.dumps(content, indent=2, ensure_ascii=False)
        partial.write_text(text + "\n", encoding="utf-8")
    return path


def _read_metadata(weights: str) -> tuple[list[str], list[int]]:
    """Names and category ids next to a file of weights, in the order of the class indices."""
    path = Path(weights).parent / METADATA_FILE
    if not weights or not path.is_file():
        return [], []
    try:
        content = read_json(path)
        names = [str(name) for name in content["thing_classes"]]
        return names, [int(number) for number in content.get("category_ids", [])]
    except (UserError, KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f'{path} is damaged: it should hold {{"thing_classes": [names], "category_ids": '
            f"[integers]}} ({error}). Remove it to go without."
        ) from error


def _from_dataset(cfg: CfgNode) -> tuple[str, list[str]]:
    metadata = _metadata_of_dataset(cfg)
    return f"dataset {metadata.get('name')}", list(metadata.get("thing_classes") or [])


def _ids_of_dataset(cfg: CfgNode) -> list[int]:
    id_map = _metadata_of_dataset(cfg).get("thing_dataset_id_to_contiguous_id") or {}
    return sorted(id_map, key=id_map.get)


def _metadata_of_dataset(cfg: CfgNode) -> Mapping[str, Any]:
    """What is registered of the first data set in DATASETS.TEST; nothing if it is unknown."""
    # MetadataCatalog.get would register a name that it does not know.
    if not cfg.DATASETS.TEST or cfg.DATASETS.TEST[0] not in MetadataCatalog.list():
        return {}
    return MetadataCatalog.get(cfg.DATASETS.TEST[0]).as_dict()
