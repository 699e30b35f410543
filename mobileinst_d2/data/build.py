"""Loaders of images and videos: what Detectron2's own builders do not know about videos."""

import logging
from collections.abc import Callable, Sequence

import numpy as np
import torch.utils.data
from detectron2.config import CfgNode
from detectron2.data import (
    DatasetFromList,
    MetadataCatalog,
    build_detection_test_loader,
    get_detection_dataset_dicts,
)
from detectron2.data.detection_utils import check_metadata_consistency
from detectron2.data.samplers import (
    RandomSubsetTrainingSampler,
    RepeatFactorTrainingSampler,
    TrainingSampler,
)
from detectron2.utils import comm

from .datasets.classes import dataset_class_names
from .mappers import ClipMapper, ImageMapper
from .mappers.clip_mapper import visible_frames
from .stream import ResumableLoader

__all__ = [
    "build_test_loader",
    "build_train_loader",
    "check_num_classes",
    "is_video_dataset",
]

_logger = logging.getLogger(__name__)


def is_video_dataset(name: str) -> bool:
    """Whether a registered data set consists of videos, by its ``evaluator_type`` "ytvis"."""
    return MetadataCatalog.get(name).get("evaluator_type") == "ytvis"


def build_train_loader(cfg: CfgNode) -> ResumableLoader:
    """Build the training loader for ``DATASETS.TRAIN``, of images or of clips.

    ``SOLVER.IMS_PER_BATCH`` counts images, or clips. Videos without a visible non-crowd object
    are dropped. With ``DATALOADER.VIS_SAMPLE_UNIT`` "frame" the sampler draws annotated frames,
    each of which is the reference frame of its clip once per epoch; with "video" it draws videos.

    Args:
        cfg: the config.

    Returns:
        an endless loader of lists of mapped records.

    Raises:
        ValueError: if images and videos are mixed, or the config asks for something impossible.
    """
    names = tuple(cfg.DATASETS.TRAIN)
    if not names:
        raise ValueError("DATASETS.TRAIN is empty")
    videos = [name for name in names if is_video_dataset(name)]
    images = [name for name in names if name not in videos]
    if images and videos:
        raise ValueError(
            f"DATASETS.TRAIN mixes images ({', '.join(images)}) with videos "
            f"({', '.join(videos)}); train on images first and start from that checkpoint"
        )
    if videos:
        dataset = ClipDataset(_training_videos(names), cfg.DATALOADER.VIS_SAMPLE_UNIT)
        mapper, sizes = ClipMapper(cfg, is_train=True), dataset.sizes
        num_frames, frames_per_sample = dataset.num_frames, cfg.INPUT.SAMPLING_FRAME_NUM
    else:
        dataset = get_detection_dataset_dicts(
            list(names), filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        )
        mapper, sizes = ImageMapper(cfg, is_train=True), _sizes(dataset)
        num_frames, frames_per_sample = len(dataset), 1
    grouped = cfg.DATALOADER.ASPECT_RATIO_GROUPING
    return ResumableLoader(
        dataset,
        mapper,
        _sampler_factory(cfg, dataset),
        batch_size=_batch_size_per_process(cfg),
        groups=[int(width > height) for height, width in sizes] if grouped else None,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        seed=cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed(),
        frames_per_epoch=num_frames,
        frames_per_sample=frames_per_sample,
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
            cfg, dataset_name, mapper=ImageMapper(cfg, is_train=False)
        )
    # The mapper of videos reads no image, so there is no work for loader processes.
    return build_detection_test_loader(
        dataset=_load_videos((dataset_name,)), mapper=ClipMapper(cfg, is_train=False), num_workers=0
    )


def check_num_classes(cfg: CfgNode) -> None:
    """Check the number of classes against every data set of the config.

    It stands in ``MODEL.NUM_CLASSES``, for Detectron2's own detectors in a key of theirs. The
    names of the classes are those of `dataset_class_names`.

    Args:
        cfg: the config.

    Raises:
        ValueError: if a number differs; the message says what to set.
    """
    counts = {
        "RetinaNet": ("MODEL.RETINANET.NUM_CLASSES", cfg.MODEL.RETINANET.NUM_CLASSES),
        "GeneralizedRCNN": ("MODEL.ROI_HEADS.NUM_CLASSES", cfg.MODEL.ROI_HEADS.NUM_CLASSES),
    }
    key, count = counts.get(
        cfg.MODEL.META_ARCHITECTURE, ("MODEL.NUM_CLASSES", cfg.MODEL.NUM_CLASSES)
    )
    for name in dict.fromkeys((*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        classes = dataset_class_names(name)
        if len(classes) != count:
            first = ", ".join(classes[:5]) + (", ..." if len(classes) > 5 else "")
            raise ValueError(
                f"{key} is {count}, but dataset '{name}' has {len(classes)} classes ({first}). "
                f"Set {key} {len(classes)}, or choose another dataset in DATASETS.TRAIN and "
                "DATASETS.TEST."
            )


class ClipDataset(torch.utils.data.Dataset):
    """Map-style data set of video records, or of their annotated frames.

    The records are held once, serialised, so that loader processes share their memory; an element
    is the record of a video, in the unit "frame" with the number of its ``reference_frame``.
    """

    def __init__(self, records: list[dict], unit: str) -> None:
        """Build the index.

        Args:
            records: video records, each with at least one annotated frame.
            unit: "frame" or "video".

        Raises:
            ValueError: if the unit is neither.
        """
        if unit not in ("frame", "video"):
            raise ValueError(f"DATALOADER.VIS_SAMPLE_UNIT must be 'frame' or 'video', got {unit!r}")
        # (height, width) of every element, in pixels.
        self.sizes = _sizes(records)
        self._records = DatasetFromList(records, copy=False)
        self._index: np.ndarray | None = None  # (N, 2): position of the video, frame number
        pairs = [(i, t) for i, record in enumerate(records) for t in visible_frames(record)]
        # Annotated frames of all videos, whatever the unit.
        self.num_frames = len(pairs)
        if unit == "frame":
            self._index = np.array(pairs, dtype=np.int32)
            self.sizes = [self.sizes[i] for i, _ in pairs]
        _logger.info("Training on %d %ss of %d videos", len(self), unit, len(records))

    def __len__(self) -> int:
        return len(self._records) if self._index is None else len(self._index)

    def __getitem__(self, position: int) -> dict:
        if self._index is None:
            return self._records[position]
        video, frame = self._index[position].tolist()
        return {**self._records[video], "reference_frame": frame}


def _sizes(records: list[dict]) -> list[tuple[int, int]]:
    """(height, width) of records; (0, 0) where a record of an image does not tell."""
    return [(record.get("height", 0), record.get("width", 0)) for record in records]


def _batch_size_per_process(cfg: CfgNode) -> int:
    total, processes = cfg.SOLVER.IMS_PER_BATCH, comm.get_world_size()
    if total < 1 or total % processes:
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH ({total}) must be a positive multiple of the number of "
            f"processes ({processes})"
        )
    return total // processes


def _sampler_factory(
    cfg: CfgNode, dataset: list[dict] | ClipDataset
) -> Callable[[int], torch.utils.data.Sampler]:
    """What makes, of a seed, the sampler that ``DATALOADER.SAMPLER_TRAIN`` names."""
    name = cfg.DATALOADER.SAMPLER_TRAIN
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
    raise ValueError(
        f"DATALOADER.SAMPLER_TRAIN {name!r} is unknown, or not for videos: they take "
        "TrainingSampler or RandomSubsetTrainingSampler, images RepeatFactorTrainingSampler too"
    )


def _load_videos(names: Sequence[str]) -> list[dict]:
    """Load video data sets, and check that their records are ours."""
    records = get_detection_dataset_dicts(list(names), filter_empty=False)
    if any("tracks" not in record for record in records):
        raise ValueError(
            f"The records of {', '.join(names)} have no 'tracks': another package has registered "
            "a dataset under this name. Import mobileinst_d2 before it, or register the files "
            "under a new name with DATASETS.CUSTOM."
        )
    return records


def _training_videos(names: Sequence[str]) -> list[dict]:
    records = _load_videos(names)
    check_metadata_consistency("thing_classes", list(names))
    usable = [record for record in records if record["tracks"] and visible_frames(record)]
    _logger.info(
        "Removed %d videos without a usable track. %d videos left.",
        len(records) - len(usable),
        len(usable),
    )
    if not usable:
        raise ValueError(
            f"No video of {', '.join(names)} has a usable track. The public validation and test "
            "files have no ground truth; train on a train split."
        )
    return usable
