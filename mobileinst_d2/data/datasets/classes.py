"""Classes of registered data sets, and which class of one means which of another."""

import re
from collections.abc import Iterable, Sequence

from detectron2.data import MetadataCatalog
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

from mobileinst_core.errors import ConfigError
from mobileinst_core.ytvis.classes import COCO_ID_MAPS, THING_CLASSES

from .builtin import register_builtin_datasets
from .coco import load_images
from .registration import keep_records

__all__ = ["COCO_CLASSES", "corresponding_classes", "dataset_class_names", "plain_class_names"]

# Category IDs of COCO and their names.
COCO_CLASSES = {item["id"]: item["name"] for item in COCO_CATEGORIES if item["isthing"]}


def dataset_class_names(dataset_name: str) -> list[str]:
    """Class names of a registered data set in the order of the contiguous class indices.

    It is loaded only if they are not known before, and its records are then kept for the next one
    who loads them.

    Raises:
        ConfigError: if the data set has none.
    """
    register_builtin_datasets([dataset_name])
    metadata = MetadataCatalog.get(dataset_name)
    if metadata.get("thing_classes") is None:
        keep_records(dataset_name, load_images(dataset_name))
    if metadata.get("thing_classes") is None:
        raise ConfigError(f"The metadata of dataset '{dataset_name}' has no thing_classes")
    return list(metadata.thing_classes)


def plain_class_names(names: Iterable[str]) -> list[str]:
    """Class names without what differs by habit: upper case, spaces, hyphens, underscores."""
    return [re.sub(r"[\s_-]", "", name).lower() for name in names]


def corresponding_classes(source: Sequence[str], target: Sequence[str]) -> dict[int, int]:
    """Which class of one data set means which class of another.

    From COCO to the public video data sets the usual class mapping is used (`COCO_ID_MAPS`), which
    brings some classes together. Otherwise the `plain_class_names` have to be equal.

    Args:
        source: class names of the first data set.
        target: class names of the second.

    Returns:
        From indices into ``source`` to indices into ``target``; classes without a counterpart are
        left out.
    """
    source, target = plain_class_names(source), plain_class_names(target)
    if source == plain_class_names(COCO_CLASSES.values()):
        for dataset, id_map in COCO_ID_MAPS.items():
            if target == plain_class_names(THING_CLASSES[dataset]):
                positions = {category_id: index for index, category_id in enumerate(COCO_CLASSES)}
                return {positions[coco_id]: new_id - 1 for coco_id, new_id in id_map.items()}
    return {i: target.index(name) for i, name in enumerate(source) if name in target}
