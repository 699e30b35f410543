"""Typical images for int8: of a data set, a folder or a video."""

import logging
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.data import MapDataset
from torch.utils.data import ConcatDataset
from tqdm import tqdm

from mobileinst_core.errors import ConfigError
from mobileinst_core.video.contact_sheet import spread
from mobileinst_core.video.sources import open_source
from mobileinst_d2.data.datasets import (
    is_registered,
    is_video_dataset,
    load_images,
    load_videos,
)
from mobileinst_d2.data.mappers import ClipMapper, ImageMapper
from mobileinst_d2.utils.resizing import build_frame_preparation

__all__ = ["calibration_frames", "split_frames"]

logger = logging.getLogger(__name__)

# With fewer, ranges hang on what a single image happens to show.
_FEW = 16
# In grey levels: the standard deviation of an image that shows something.
_FLAT = 2.0
# Images that the result is compared on, one for eight that the ranges are measured on.
_MAX_HELD_OUT = 8


def calibration_frames(cfg: CfgNode, source: str, count: int) -> list[torch.Tensor]:
    """Images, or frames of videos, evenly spread, resized as in evaluation.

    Args:
        cfg: the config.
        source: a registered data set, a folder of images, or a video file.
        count: how many to take at most.

    Returns:
        Images (3, h, w) uint8.

    Raises:
        ConfigError: there is no such source, or it is empty.
    """
    if is_registered(source):
        return _of_dataset(cfg, source, count)
    if not Path(source).exists():
        raise ConfigError(
            f"There is no data set, folder or video {source!r}; DATASETS.CUSTOM can add a data set."
        )
    prepare = build_frame_preparation(cfg)
    with closing(open_source(source)) as opened:
        length = sum(1 for _ in opened.frames())
    chosen = set(spread(length, count))
    with closing(open_source(source)) as opened:
        return [
            torch.from_numpy(prepare(frame.decode()))
            for number, frame in enumerate(opened.frames())
            if number in chosen
        ]


def split_frames(
    frames: Sequence[torch.Tensor],
) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    """Hold some images out, and warn of such that ranges should not be measured on.

    Args:
        frames: from `calibration_frames`.

    Returns:
        Those to measure the ranges on, and those to compare the result on; with a single image
        nothing is held out.
    """
    count = min(_MAX_HELD_OUT, max(1, len(frames) // 9)) if len(frames) > 1 else 0
    held_out = {round((i + 0.5) * len(frames) / count) for i in range(count)}
    kept = [frame for i, frame in enumerate(frames) if i not in held_out]
    if len(kept) < _FEW:
        logger.warning(
            "Only %d images to measure ranges on: what others exceed them by is cut off. Take at "
            "least %d, of what the model will see.",
            len(kept),
            _FEW,
        )
    flat = sum(float(frame.float().std()) < _FLAT for frame in kept)
    if flat:
        logger.warning(
            "%d of %d calibration images have one colour and show nothing: ranges measured on them "
            "are too small.",
            flat,
            len(kept),
        )
    return kept, [frames[i] for i in sorted(held_out)]


def _of_dataset(cfg: CfgNode, name: str, count: int) -> list[torch.Tensor]:
    records = load_videos(name) if is_video_dataset(name) else load_images(name)
    if not records:
        raise ConfigError(f"The data set {name!r} is empty.")
    if is_video_dataset(name):
        mapper = ClipMapper(cfg, is_train=False)
        frames = ConcatDataset([mapper(record)["image"] for record in records])
    else:
        mapper = ImageMapper(cfg, is_train=False)
        frames = MapDataset(records, lambda record: mapper(record)["image"])
    numbers = spread(len(frames), count)
    return [frames[number] for number in tqdm(numbers, desc="calibration images", unit="image")]
