"""Checks of a config against its data sets, before a training or an evaluation starts."""

import math
import os
from collections.abc import Sequence

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from mobileinst_core.errors import ConfigError

from .datasets.catalog import is_registered, is_video_dataset, load_videos
from .datasets.classes import dataset_class_names
from .datasets.coco import load_images
from .datasets.own_records import coco_content
from .datasets.pseudo_clips import is_pseudo_clips

__all__ = [
    "are_clips",
    "check_input",
    "check_names",
    "check_num_classes",
    "check_own_records",
    "check_ratio",
    "check_test_data",
]


def check_input(cfg: CfgNode) -> None:
    """Make sure that images can be read and resized as ``INPUT`` says, in training and evaluation.

    Raises:
        ConfigError: names the key and what to choose.
    """
    node = cfg.INPUT
    if node.FORMAT not in ("RGB", "BGR"):
        raise ConfigError(f"INPUT.FORMAT is {node.FORMAT!r}: choose 'RGB' or 'BGR'")
    sizes = tuple(node.MIN_SIZE_TRAIN)
    if not sizes or not all(isinstance(size, int) and size >= 0 for size in sizes):
        raise ConfigError(
            f"INPUT.MIN_SIZE_TRAIN is {sizes}: give short sides in pixels, such as (320, 640), or "
            "(0,) for images as they are"
        )
    if node.MIN_SIZE_TEST < 0:
        raise ConfigError(
            f"INPUT.MIN_SIZE_TEST is {node.MIN_SIZE_TEST}: choose the short side in pixels, or 0 "
            "for images as they are"
        )
    for key in ("MAX_SIZE_TRAIN", "MAX_SIZE_TEST"):
        if node[key] < 1:
            raise ConfigError(f"INPUT.{key} is {node[key]}: choose the longest side in pixels")


def check_names(cfg: CfgNode) -> None:
    """Make sure that ``DATASETS.TRAIN`` and ``TEST`` hold names; ConfigError if not."""
    for key in ("TRAIN", "TEST"):
        names = tuple(cfg.DATASETS[key])
        if not all(isinstance(name, str) for name in names):
            raise ConfigError(
                f"DATASETS.{key} is {names}: give names of data sets, such as ('coco_2017_train',)"
            )


def check_test_data(cfg: CfgNode) -> None:
    """Read the annotations of ``DATASETS.TEST``, so that a training does not end for their faults.

    Args:
        cfg: the config.

    Raises:
        UserError: if a file is missing or malformed, or the first image of a data set is missing.
    """
    for name in cfg.DATASETS.TEST:
        records = load_videos(name) if is_video_dataset(name) else load_images(name)
        first = records[0] if records else {}
        files = first.get("file_names") or [first.get("file_name")]
        if files[0] and "://" not in files[0] and not os.path.isfile(files[0]):
            raise ConfigError(
                f"The images of dataset '{name}' in DATASETS.TEST are missing: there is no "
                f"{files[0]}. Correct its image root, or train without evaluation: DATASETS.TEST ()"
            )


def check_own_records(cfg: CfgNode) -> None:
    """Make sure that the data sets of ``DATASETS.TEST`` without a COCO file can be evaluated.

    Raises:
        ConfigError: see `coco_content`.
    """
    for name in cfg.DATASETS.TEST:
        metadata = MetadataCatalog.get(name)
        if metadata.get("evaluator_type") == "coco" and metadata.get("json_file") is None:
            coco_content(name, load_images(name))


def check_num_classes(cfg: CfgNode) -> None:
    """Check the number of classes against every data set of the config.

    It is ``MODEL.NUM_CLASSES``, for Detectron2's own detectors in a key of theirs. The
    names of the classes are those of `dataset_class_names`.

    Args:
        cfg: the config.

    Raises:
        ConfigError: if a number differs; the message says what to set. Also if images and videos
            are mixed, or images as clips, which are for training, are to be tested on.
    """
    counts = {
        "RetinaNet": ("MODEL.RETINANET.NUM_CLASSES", cfg.MODEL.RETINANET.NUM_CLASSES),
        "GeneralizedRCNN": ("MODEL.ROI_HEADS.NUM_CLASSES", cfg.MODEL.ROI_HEADS.NUM_CLASSES),
    }
    key, count = counts.get(
        cfg.MODEL.META_ARCHITECTURE, ("MODEL.NUM_CLASSES", cfg.MODEL.NUM_CLASSES)
    )
    are_clips(cfg.DATASETS.TRAIN)  # of images and videos the numbers differ for another reason
    for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        is_registered(name)
        if name in cfg.DATASETS.TEST and is_pseudo_clips(name):
            raise ConfigError(f"DATASETS.TEST: '{name}' are images as clips, for training only")
        classes = dataset_class_names(name)
        if len(classes) != count:
            first = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
            raise ConfigError(
                f"{key} is {count}, but dataset '{name}' has {len(classes)} classes ({first}). "
                f"Set {key} {len(classes)}, or choose another dataset in DATASETS.TRAIN and "
                "DATASETS.TEST."
            )


def check_ratio(cfg: CfgNode) -> None:
    """Make sure that ``DATASETS.RATIO`` has a share for each data set, and can be had."""
    ratio, names = cfg.DATASETS.RATIO, cfg.DATASETS.TRAIN
    if not ratio:
        return
    if len(ratio) != len(names):
        raise ConfigError(
            f"DATASETS.RATIO {tuple(ratio)} and DATASETS.TRAIN {tuple(names)} differ in length: "
            "give one number for each data set, or none"
        )
    if not all(isinstance(share, int | float) and 0 < share < math.inf for share in ratio):
        raise ConfigError(
            f"DATASETS.RATIO {tuple(ratio)} must be of positive numbers; to leave a data set out, "
            "take it out of DATASETS.TRAIN"
        )
    if cfg.DATALOADER.SAMPLER_TRAIN != "TrainingSampler":
        raise ConfigError(
            "DATASETS.RATIO needs DATALOADER.SAMPLER_TRAIN 'TrainingSampler', not "
            f"{cfg.DATALOADER.SAMPLER_TRAIN!r}"
        )


def are_clips(names: Sequence[str]) -> bool:
    """Whether these data sets give clips; a mixture of clips and images is refused.

    Names that are registered on first use are registered on the way.
    """
    for name in names:
        is_registered(name)
    videos = [name for name in names if is_video_dataset(name)]
    pseudo = [name for name in names if is_pseudo_clips(name)]
    images = [name for name in names if name not in (*videos, *pseudo)]
    if not (videos or pseudo):
        return False
    if images:
        classes = videos[0] if videos else "clips"
        raise ConfigError(
            f"DATASETS.TRAIN mixes images ({', '.join(images)}) with videos "
            f"({', '.join((*videos, *pseudo))}); train on images first and start from that "
            f"checkpoint, or use the images as clips, by the name '{images[0]}_as_{classes}'"
        )
    return True
