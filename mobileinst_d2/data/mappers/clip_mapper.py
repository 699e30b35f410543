"""Clips of a few frames for training, whole videos for testing."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from mobileinst_core.masks.packed import visible
from mobileinst_core.video.images import read_image

from .augmentation import ClipAugmentation, build_augmentations
from .lazy_frames import LazyFrames
from .samples import BadRecordError, BadRecords, decode_masks, make_clip_instances

__all__ = ["ClipMapper", "ClipSampler", "visible_frames"]


def visible_frames(record: dict) -> list[int]:
    """Numbers of the frames of a video record that show a non-crowd object, in ascending order."""
    shown = np.zeros(record["length"], dtype=bool)
    for track in record["tracks"]:
        if not track["iscrowd"]:
            shown |= visible(track["segmentations"])
    return np.flatnonzero(shown).tolist()


class ClipSampler:
    """Draws the frames of a clip around a reference frame.

    The other frames are uniform, without repetition, over those at a distance between
    ``min_distance`` and ``max_distance`` inside the video. A video too short for that gives the
    reference frame again.
    """

    def __init__(
        self,
        *,
        num_frames: int,
        max_distance: int,
        shuffle: bool,
        min_distance: int = 1,
        shared_tries: int = 3,
    ) -> None:
        """Keep the settings.

        Args:
            num_frames: frames per clip, from 1.
            max_distance: largest distance to the reference frame; 0 or less = the whole video.
            shuffle: random order of the frames; otherwise chronological.
            min_distance: smallest distance, in frames, from 1.
            shared_tries: draws until every frame shows an object of the reference frame; the
                last draw is taken in any case.

        Raises:
            ValueError: if the settings contradict each other.
        """
        if num_frames < 1:
            raise ValueError(f"num_frames is {num_frames}, at least 1")
        if min_distance < 1:
            raise ValueError(f"min_distance is {min_distance}, at least 1")
        if 0 < max_distance < min_distance:
            raise ValueError(
                f"max_distance is {max_distance}, at least min_distance ({min_distance}), or 0 for "
                "the whole video"
            )
        self.num_frames = num_frames
        self.min_distance = min_distance
        self.max_distance = max_distance
        self.shuffle = shuffle
        self.shared_tries = max(1, shared_tries)

    def __call__(self, reference: int, length: int, shares: Callable[[int], bool]) -> list[int]:
        """Draw a clip.

        Args:
            reference: number of the reference frame.
            length: frames in the video.
            shares: tells whether a frame shows an object that the reference frame shows.

        Returns:
            ``num_frames`` frame numbers; one of them is the reference.
        """
        distances = np.abs(np.arange(length) - reference)
        allowed = distances >= self.min_distance
        if self.max_distance > 0:
            allowed &= distances <= self.max_distance
        candidates = np.flatnonzero(allowed)

        partners: list[int] = []
        for _ in range(self.shared_tries):
            partners = self._draw_partners(candidates, reference)
            if all(shares(frame) for frame in partners):
                break
        frames = [reference, *partners]
        return np.random.permutation(frames).tolist() if self.shuffle else sorted(frames)

    def _draw_partners(self, candidates: np.ndarray, reference: int) -> list[int]:
        wanted = self.num_frames - 1
        if len(candidates) == 0:
            return [reference] * wanted
        repeat = len(candidates) < wanted
        return np.random.choice(candidates, size=wanted, replace=repeat).tolist()


class ClipMapper:
    """Maps a video record to a training clip, or to a lazily read test video.

    All frames of a clip go through the same geometric transform, drawn on the first of them;
    colours vary per frame. Row i of ``instances`` is the same object in every frame: rows are the
    non-crowd tracks seen in at least one frame, by ascending id. Where an object is not visible,
    its row has ``gt_ids`` -1, an empty mask and a zero box, but still the class of its track.

    If a record cannot be used in training it is logged, and None is returned so that Detectron2
    draws another clip; see :class:`BadRecords`.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        image_format: str,
        augmentations: list[T.Augmentation | T.Transform],
        sampler: ClipSampler,
        color_augmentations: list[T.Augmentation] | None = None,
    ) -> None:
        """Keep the settings.

        Args:
            is_train: whether to give clips with ground truth, or whole videos without.
            image_format: ``INPUT.FORMAT``, "RGB" or "BGR".
            augmentations: geometric augmentations, in order.
            sampler: draws the frames of a training clip.
            color_augmentations: augmentations of the image only, applied after them.
        """
        self.is_train = is_train
        self.image_format = image_format
        self.augment = ClipAugmentation(augmentations, color_augmentations or ())
        self.sampler = sampler
        self._bad_records = BadRecords()
        mode = "training" if is_train else "testing"
        logging.getLogger(__name__).info("Augmentations of videos in %s: %s", mode, self.augment)

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Read the constructor's arguments from the config."""
        sampler = ClipSampler(
            num_frames=cfg.INPUT.SAMPLING_FRAME_NUM,
            max_distance=cfg.INPUT.SAMPLING_FRAME_RANGE,
            shuffle=cfg.INPUT.SAMPLING_FRAME_SHUFFLE,
        )
        return {
            "is_train": is_train,
            **build_augmentations(cfg, is_train),
            "sampler": sampler,
        }

    def __call__(self, record: dict) -> dict | None:
        """Map one record, which stays as it is.

        Args:
            record: video record; for training with tracks and, optionally, the number of a
                ``reference_frame``. Without it, one is drawn among the frames with objects.

        Returns:
            ``video_id``, ``height``, ``width`` (of the files), ``length``, ``file_names``, and in
            training ``frame_idx`` (F numbers), ``image`` (F tensors (3, H, W) uint8 of equal
            size) and ``instances`` (F Instances with ``gt_classes``, ``gt_ids``, ``gt_masks``,
            ``gt_boxes``), ``file_names`` being those of the F frames; in testing ``image`` as
            :class:`LazyFrames` of the whole video. None if a training clip cannot be used.

        Raises:
            ImageReadError, ImageSizeError, BadRecordError: if too many clips cannot be used.
            ValueError: if the annotations are missing in training.
        """
        keys = ("video_id", "height", "width", "length", "file_names")
        result = {key: record[key] for key in keys}
        if not self.is_train:
            result["image"] = LazyFrames(
                record["file_names"],
                image_format=self.image_format,
                augmentations=self.augment.geometric.augs,
                size=(record["height"], record["width"]),
                video_id=record["video_id"],
            )
            return result
        return self._bad_records.map(lambda record: self._map(record, result), record)

    def _map(self, record: dict, result: dict) -> dict:
        """Complete the result of a training record."""
        frames = self._sample_frames(record)
        result["frame_idx"] = frames
        result["file_names"] = [record["file_names"][frame] for frame in frames]
        size = (record["height"], record["width"])
        images = [
            read_image(name, self.image_format, size=size, allow_transposed=True)
            for name in result["file_names"]
        ]
        tracks = _tracks_in(record, frames)
        result["image"], masks = self.augment(images, _decode(record, frames, tracks))
        result["instances"] = make_clip_instances(
            masks, [track["category_id"] for track in tracks], [track["id"] for track in tracks]
        )
        return result

    def _sample_frames(self, record: dict) -> list[int]:
        if not record["tracks"]:
            raise ValueError(f"Video {record['video_id']} has no tracks; it cannot be trained on")
        reference = record.get("reference_frame")
        if reference is None:
            candidates = visible_frames(record) or range(record["length"])
            reference = int(np.random.choice(candidates))

        in_reference = _tracks_in(record, [reference])

        def shares(frame: int) -> bool:
            return any(track["segmentations"][frame] is not None for track in in_reference)

        return self.sampler(reference, record["length"], shares)


def _tracks_in(record: dict, frames: Sequence[int]) -> list[dict]:
    """Non-crowd tracks visible in at least one of the frames, by ascending id."""
    tracks = [
        track
        for track in record["tracks"]
        if not track["iscrowd"] and any(track["segmentations"][f] is not None for f in frames)
    ]
    return sorted(tracks, key=lambda track: track["id"])


def _decode(
    record: dict, frames: Sequence[int], tracks: Sequence[dict]
) -> list[list[np.ndarray | None]]:
    """Per frame the masks of the tracks."""
    masks = []
    for frame in frames:
        segmentations = [track["segmentations"][frame] for track in tracks]
        try:
            masks.append(decode_masks(segmentations, (record["height"], record["width"])))
        except ValueError as error:
            raise BadRecordError(
                f"Video {record['video_id']}, frame {frame}, tracks "
                f"{[track['id'] for track in tracks]}: {error}"
            ) from error
    return masks
