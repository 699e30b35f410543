"""Data sets of images as clips: names such as ``coco_2017_train_as_ytvis_2019``."""

import functools
import logging

from detectron2.data import DatasetCatalog, MetadataCatalog

from mobileinst_core.errors import ConfigError
from mobileinst_core.ytvis.classes import THING_CLASSES

from .builtin import register_builtin_datasets
from .classes import corresponding_classes, dataset_class_names
from .coco import load_images

__all__ = ["is_pseudo_clips", "register_pseudo_clips"]

_logger = logging.getLogger(__name__)

_AS = "_as_"
# After it, instead of a video data set: the images keep their own classes.
_OWN_CLASSES = "clips"


def is_pseudo_clips(name: str) -> bool:
    """Whether a registered data set consists of images as clips."""
    return MetadataCatalog.get(name).get("clips_of") is not None


def register_pseudo_clips(name: str) -> None:
    """Register images as clips under ``IMAGES_as_VIDEOS``, if the name is of this form.

    IMAGES is a registered set of images with masks. VIDEOS says which classes it takes on: those
    of a public data set ("ytvis_2019", "ytvis_2021", "ytvis_2022", "ovis"), those of any registered
    data set, or with "clips" its own. `corresponding_classes` tells which class becomes which;
    annotations of other classes are dropped, and images that then have none. Nothing is read
    before the data set is used. A registered name is left alone.

    Args:
        name: a name of ``DATASETS.TRAIN``.

    Raises:
        ConfigError: if the name is of this form and there is no such set of images or of videos.
    """
    images, separator, videos = name.rpartition(_AS)
    if name in DatasetCatalog or not separator:
        return
    register_builtin_datasets([images])
    if images not in DatasetCatalog:
        raise ConfigError(
            f"Dataset '{name}' would be '{images}' as clips, but there is no data set '{images}'"
        )
    if MetadataCatalog.get(images).get("evaluator_type") == "ytvis":
        raise ConfigError(f"Dataset '{name}': '{images}' are videos already")
    target = f"{videos}_train" if videos in THING_CLASSES else videos
    target = images if videos == _OWN_CLASSES else target
    register_builtin_datasets([target])
    if target not in DatasetCatalog:
        raise ConfigError(
            f"Dataset '{name}': '{videos}' is neither a registered data set nor one of "
            f"{', '.join((*THING_CLASSES, _OWN_CLASSES))}"
        )
    DatasetCatalog.register(name, functools.partial(_load, name, images, target))
    MetadataCatalog.get(name).set(clips_of=images)
    if MetadataCatalog.get(target).get("thing_classes") is not None:
        _take_classes(name, target)


def _take_classes(name: str, target: str) -> None:
    known = MetadataCatalog.get(target).as_dict()
    keys = ("thing_classes", "thing_dataset_id_to_contiguous_id")
    MetadataCatalog.get(name).set(**{key: known[key] for key in keys if key in known})


def _load(name: str, images: str, target: str) -> list[dict]:
    records = load_images(images)
    classes = corresponding_classes(dataset_class_names(images), dataset_class_names(target))
    _take_classes(name, target)
    mapped, num_annotations, num_kept = [], 0, 0
    for record in records:
        annotations = [
            {**annotation, "category_id": classes[annotation["category_id"]]}
            for annotation in record.get("annotations", ())
            if annotation["category_id"] in classes
        ]
        num_annotations += len(record.get("annotations", ()))
        num_kept += len(annotations)
        if any(a.get("segmentation") and not a.get("iscrowd", 0) for a in annotations):
            mapped.append({**record, "annotations": annotations})
    _logger.info(
        "%s: %d of %d classes of %s stand for %d of %s. Removed %d of %d annotations, and %d of %d "
        "images, which have no object left.",
        name,
        len(classes),
        len(dataset_class_names(images)),
        images,
        len(set(classes.values())),
        target,
        num_annotations - num_kept,
        num_annotations,
        len(records) - len(mapped),
        len(records),
    )
    if not mapped:
        raise ConfigError(
            f"Dataset '{name}': no image of '{images}' has an object of a class of '{target}'. "
            "Classes correspond by name; '..._as_clips' keeps those of the images"
        )
    return mapped
