"""Loaders of images and videos: what Detectron2's own builders do not know about videos."""

import itertools
import logging
from collections import Counter
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch.utils.data
from detectron2.config import CfgNode
from detectron2.data import DatasetFromList, build_detection_test_loader
from detectron2.data.build import filter_images_with_only_crowd_annotations
from detectron2.data.detection_utils import check_metadata_consistency
from detectron2.data.samplers import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm

from mobileinst_core.errors import ConfigError

from .checks import are_clips, check_ratio
from .datasets.catalog import is_video_dataset, load_videos
from .datasets.classes import dataset_class_names
from .datasets.coco import load_images
from .datasets.pseudo_clips import is_pseudo_clips
from .mappers import ClipMapper, CopyPasteMapper, ImageMapper, PseudoClipMapper
from .mappers.clip_mapper import visible_frames
from .stream import ClipDataset, RatioSampler, ResumableLoader

__all__ = [
    "build_test_loader",
    "build_train_loader",
    "is_video_dataset",
]

_logger = logging.getLogger(__name__)


def build_train_loader(cfg: CfgNode) -> ResumableLoader:
    """Build the training loader for ``DATASETS.TRAIN``, of images or of clips.

    ``SOLVER.IMS_PER_BATCH`` counts images, or clips. Videos without a visible non-crowd object
    are dropped. The sampler draws annotated frames, each of which is the reference frame of its
    clip once per epoch. Images join videos as clips, under the names of
    `datasets.register_pseudo_clips`. With ``DATASETS.RATIO`` each data set gives its share of the
    samples.

    Args:
        cfg: the config.

    Returns:
        an endless loader of lists of mapped records. Its ``frames_per_epoch`` are all annotated
        frames and all images together, whatever the ratio.

    Raises:
        ConfigError: if images and videos are mixed, or the config asks for something impossible.
    """
    names = tuple(cfg.DATASETS.TRAIN)
    if not names:
        raise ConfigError("DATASETS.TRAIN is empty")
    check_ratio(cfg)
    clips = are_clips(names)
    parts = [_load_part(cfg, name) for name in names]
    if len(names) > 1:
        check_metadata_consistency("thing_classes", list(names))
        _log_shares(cfg, parts)
    if clips:
        dataset = torch.utils.data.ConcatDataset([part.dataset for part in parts])
    else:
        dataset = list(itertools.chain.from_iterable(part.dataset for part in parts))
    grouped = cfg.DATALOADER.ASPECT_RATIO_GROUPING
    sizes = itertools.chain.from_iterable(part.sizes for part in parts)
    sampler = _sampler_factory(cfg, dataset, [len(part.dataset) for part in parts])
    try:
        mapper = _build_mapper(cfg, names) if clips else ImageMapper(cfg, is_train=True)
        if cfg.INPUT.COPY_PASTE != 0:
            # One array in memory, for the loader and the mapper.
            dataset = DatasetFromList(dataset, copy=False) if isinstance(dataset, list) else dataset
            mapper = CopyPasteMapper(mapper, dataset, cfg.INPUT.COPY_PASTE)
    except ValueError as error:  # the constructors name their arguments
        raise ConfigError(f"INPUT has a value that training cannot use: {error}") from error
    return ResumableLoader(
        dataset,
        mapper,
        sampler,
        batch_size=_batch_size_per_process(cfg),
        groups=[int(width > height) for height, width in sizes] if grouped else None,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        seed=cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed(),
        frames_per_epoch=sum(len(part.dataset) for part in parts),
        frames_per_sample=cfg.INPUT.SAMPLING_FRAME_NUM if clips else 1,
    )


def build_test_loader(cfg: CfgNode, dataset_name: str) -> torch.utils.data.DataLoader:
    """Build the loader of one test set, one image or one whole video per batch.

    Args:
        cfg: the config; its ``DATASETS.TEST`` does not matter.
        dataset_name: a registered name.

    Returns:
        a loader of lists of one mapped record, each record once.
    """
    if not is_video_dataset(dataset_name):
        return build_detection_test_loader(
            dataset=load_images(dataset_name),
            mapper=ImageMapper(cfg, is_train=False),
            num_workers=cfg.DATALOADER.NUM_WORKERS,
        )
    # The mapper of videos reads no image, so there is no work for loader processes.
    return build_detection_test_loader(
        dataset=load_videos(dataset_name), mapper=ClipMapper(cfg, is_train=False), num_workers=0
    )


class _Part(NamedTuple):
    """One data set of ``DATASETS.TRAIN``."""

    name: str
    dataset: Sequence[dict] | torch.utils.data.Dataset
    sizes: list[tuple[int, int]]  # (height, width) of every record, in pixels


def _load_part(cfg: CfgNode, name: str) -> _Part:
    if is_video_dataset(name):
        if not cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
            _logger.warning("DATALOADER.FILTER_EMPTY_ANNOTATIONS False has no effect on videos.")
        dataset = ClipDataset(_training_videos(name))
        return _Part(name, dataset, dataset.sizes)
    if is_pseudo_clips(name):
        records = load_images(name)
        dataset = DatasetFromList(records, copy=False)
    else:
        filter_empty = cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        records = dataset = _training_images(name, filter_empty=filter_empty)
    return _Part(name, dataset, _sizes(records))


def _log_shares(cfg: CfgNode, parts: Sequence[_Part]) -> None:
    weights = cfg.DATASETS.RATIO or [len(part.dataset) for part in parts]
    for part, weight in zip(parts, weights, strict=True):
        _logger.info(
            "%s: %.1f %% of the samples, %d annotated frames or images",
            part.name,
            100 * weight / sum(weights),
            len(part.dataset),
        )


class _MixedMapper:
    """Maps records of videos and of images to clips, each by its own mapper."""

    def __init__(self, videos: ClipMapper, images: PseudoClipMapper) -> None:
        self.videos = videos
        self.images = images

    def __call__(self, record: dict) -> dict | None:
        return (self.videos if "tracks" in record else self.images)(record)


def _build_mapper(
    cfg: CfgNode, names: Sequence[str]
) -> ClipMapper | PseudoClipMapper | _MixedMapper:
    """The mapper of training clips, of videos, images, or both."""
    kinds = {is_video_dataset(name) for name in names}
    if kinds == {True}:
        return ClipMapper(cfg, is_train=True)
    if kinds == {False}:
        return PseudoClipMapper(cfg)
    return _MixedMapper(ClipMapper(cfg, is_train=True), PseudoClipMapper(cfg))


def _sizes(records: Sequence[dict]) -> list[tuple[int, int]]:
    """(height, width) of records; (0, 0) where a record of an image does not tell."""
    return [(record.get("height", 0), record.get("width", 0)) for record in records]


def _batch_size_per_process(cfg: CfgNode) -> int:
    total, processes = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
    if total < 1 or total % processes:
        raise ConfigError(
            f"SOLVER.IMS_PER_BATCH ({total}) must be a positive multiple of the number of "
            f"processes ({processes})"
        )
    return total // processes


def _sampler_factory(
    cfg: CfgNode, dataset: Sequence[dict] | torch.utils.data.Dataset, part_sizes: Sequence[int]
) -> Callable[[int], torch.utils.data.Sampler]:
    """What makes, of a seed, the sampler that ``DATALOADER.SAMPLER_TRAIN`` names."""
    name, ratio = cfg.DATALOADER.SAMPLER_TRAIN, cfg.DATASETS.RATIO
    if ratio:
        return lambda seed: RatioSampler(part_sizes, ratio, seed=seed)
    if name == "TrainingSampler":
        return lambda seed: TrainingSampler(len(dataset), seed=seed)
    if name == "RandomSubsetTrainingSampler":
        return lambda seed: RandomSubsetTrainingSampler(
            len(dataset),
            cfg.DATALOADER.get("RANDOM_SUBSET_RATIO", 1.0),
            seed_shuffle=seed,
            seed_subset=seed,
        )
    if name == "RepeatFactorTrainingSampler" and isinstance(dataset, list):
        # Detectron2 after 0.6 has this key, and an argument for it.
        sqrt = cfg.DATALOADER.get("REPEAT_SQRT")
        factors = RepeatFactorTrainingSampler.repeat_factors_from_category_frequency(
            dataset, cfg.DATALOADER.REPEAT_THRESHOLD, **({} if sqrt is None else {"sqrt": sqrt})
        )
        return lambda seed: RepeatFactorTrainingSampler(factors, seed=seed)
    raise ConfigError(
        f"DATALOADER.SAMPLER_TRAIN {name!r} is unknown, or not for videos: they take "
        "TrainingSampler or RandomSubsetTrainingSampler, images RepeatFactorTrainingSampler too"
    )


def _training_images(name: str, *, filter_empty: bool) -> list[dict]:
    records = load_images(name)
    if not any("annotations" in record for record in records):
        return records  # of another kind than instances, for a mapper of the user's own
    usable = filter_images_with_only_crowd_annotations(records)
    if not usable:
        raise ConfigError(
            f"No image of {name} has a usable annotation. Public test files have no ground truth; "
            "train on a train split."
        )
    _log_class_counts(name, usable)
    return usable if filter_empty else records


def _log_class_counts(name: str, records: Sequence[dict]) -> None:
    counts = Counter(
        annotation["category_id"]
        for record in records
        for annotation in record["annotations"]
        if not annotation.get("iscrowd", 0)
    )
    classes = dataset_class_names(name)
    if unknown := [label for label in counts if label not in range(len(classes))]:
        raise ConfigError(
            f"The data set '{name}' has objects with category_id {unknown[0]!r}; records have "
            f"indices of the {len(classes)} classes in its metadata, from 0, no ids of a file"
        )
    present = ", ".join(f"{classes[label]} {count}" for label, count in sorted(counts.items()))
    absent = [names for label, names in enumerate(classes) if label not in counts]
    more = f"; none of {', '.join(absent)}" if absent else ""
    _logger.info("Instances of %s: %s%s", name, present, more)


def _training_videos(name: str) -> list[dict]:
    records = load_videos(name)
    usable = [record for record in records if record["tracks"] and visible_frames(record)]
    _logger.info(
        "Removed %d videos without a usable track. %d videos left.",
        len(records) - len(usable),
        len(usable),
    )
    if not usable:
        raise ConfigError(
            f"No video of {name} has a usable track. The public validation and test files have no "
            "ground truth; train on a train split."
        )
    return usable
