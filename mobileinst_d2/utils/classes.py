"""Names of the classes that a trained model predicts."""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

__all__ = ["METADATA_FILE", "class_names", "class_names_of_weights", "save_class_names"]

logger = logging.getLogger(__name__)

# Stands next to the weights, so that a model can be shown and exported without its dataset.
METADATA_FILE = "metadata.json"


def class_names(cfg: CfgNode) -> list[str]:
    """Find the class names of a model, without loading any dataset.

    Looks at ``metadata.json`` next to ``MODEL.WEIGHTS``, then at the registered metadata of the
    first dataset in ``DATASETS.TEST``. A list whose length is not ``MODEL.NUM_CLASSES`` belongs
    to another model and is passed over with a warning.

    Args:
        cfg: a config with this project's keys.

    Returns:
        ``MODEL.NUM_CLASSES`` names in the order of the contiguous class indices; "class 0",
        "class 1", ... when none are known.

    Raises:
        ValueError: ``metadata.json`` is damaged.
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
        ValueError: ``metadata.json`` is damaged.
    """
    path = Path(weights).parent / METADATA_FILE
    if not weights or not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return [str(name) for name in content["thing_classes"]]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ValueError(
            f'{path} is damaged: it should hold {{"thing_classes": [names]}} ({error}). '
            "Remove it to go without."
        ) from error


def save_class_names(folder: str | Path, names: Sequence[str]) -> Path:
    """Write the file that `class_names` looks for.

    Args:
        folder: where the weights are; made if missing.
        names: class names in the order of the contiguous indices.

    Returns:
        The path of the file.
    """
    path = Path(folder) / METADATA_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"thing_classes": list(names)}, indent=2, ensure_ascii=False)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def _from_dataset(cfg: CfgNode) -> tuple[str, list[str]]:
    # MetadataCatalog.get would register a name that it does not know.
    if not cfg.DATASETS.TEST or cfg.DATASETS.TEST[0] not in MetadataCatalog.list():
        return "DATASETS.TEST", []
    name = cfg.DATASETS.TEST[0]
    return f"dataset {name}", list(MetadataCatalog.get(name).get("thing_classes") or [])
