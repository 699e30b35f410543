"""Clips made of single images, for training a video model on them."""

import logging
from typing import Any

import numpy as np
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from mobileinst_core.video.images import read_image

from .augmentation import ClipAugmentation, build_augmentations
from .samples import BadRecords, decode_annotations, make_clip_instances

__all__ = ["PseudoClipMapper"]


class PseudoClipMapper:
    """Maps an image record to a training clip, as if a moving camera had filmed the image.

    Over the frames the image turns in one direction, by angles drawn and sorted, and a window
    moves in a straight line over it. Crop, resize and flip follow, the same for all frames as in
    `ClipMapper`; colours vary per frame. An identity is the position of the annotation.

    Annotations and bad records are treated as in `ImageMapper`.
    """

    @configurable
    def __init__(
        self,
        *,
        image_format: str,
        num_frames: int,
        shuffle: bool,
        augmentations: list[T.Augmentation | T.Transform],
        rotation: float = 15.0,
        min_window: float = 0.6,
        color_augmentations: list[T.Augmentation] | None = None,
    ) -> None:
        """Keep the settings.

        Args:
            image_format: ``INPUT.FORMAT``, "RGB" or "BGR".
            num_frames: frames per clip, from 1.
            shuffle: random order of the frames; otherwise that of the motion.
            augmentations: geometric augmentations of the clip, in order.
            rotation: largest angle to either side, in degrees, in [0, 180].
            min_window: smallest side of the window relative to that of the image, in (0, 1].
            color_augmentations: augmentations of the image only, applied after them.

        Raises:
            ValueError: if a setting is out of its range.
        """
        if num_frames < 1:
            raise ValueError(f"num_frames is {num_frames}, at least 1")
        if not 0 <= rotation <= 180:
            raise ValueError(f"rotation must be in [0, 180], got {rotation}")
        if not 0 < min_window <= 1:
            raise ValueError(f"min_window must be in (0, 1], got {min_window}")
        self.image_format = image_format
        self.num_frames = num_frames
        self.shuffle = shuffle
        self.rotation = rotation
        self.min_window = min_window
        self.augment = ClipAugmentation(augmentations, color_augmentations or ())
        self._bad_records = BadRecords()
        logging.getLogger(__name__).info(
            "Augmentations of images as clips: turns of up to %g degrees, windows from %g of the "
            "image, %s",
            rotation,
            min_window,
            self.augment,
        )

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read the constructor's arguments from the config."""
        return {
            **build_augmentations(cfg, is_train=True),
            "num_frames": cfg.INPUT.SAMPLING_FRAME_NUM,
            "shuffle": cfg.INPUT.SAMPLING_FRAME_SHUFFLE,
        }

    def __call__(self, record: dict) -> dict | None:
        """Map one record, which stays as it is.

        Args:
            record: file name, image id and annotations, optionally height and width.

        Returns:
            what `ClipMapper` gives in training: ``video_id`` is the image id, ``length`` the
            number of frames, and ``file_names`` the same file for each. None if the record cannot
            be used.

        Raises:
            ImageReadError, ImageSizeError, BadRecordError: if too many records cannot be used.
            ValueError: if the annotations are missing.
        """
        return self._bad_records.map(self._map, record)

    def _map(self, record: dict) -> dict:
        size = (record["height"], record["width"]) if "height" in record else None
        image = read_image(record["file_name"], self.image_format, size=size)
        size = image.shape[:2]
        annotations, masks = decode_annotations(record, size)
        count = self.num_frames
        frames = np.random.permutation(count) if self.shuffle else np.arange(count)

        def draw_motion() -> list[T.Transform]:
            motion = self._draw_motion(size)
            return [motion[frame] for frame in frames]

        images, clip_masks = self.augment([image] * count, [masks] * count, draw_motion)
        return {
            "video_id": record["image_id"],
            "height": size[0],
            "width": size[1],
            "length": count,
            "file_names": [record["file_name"]] * count,
            "frame_idx": frames.tolist(),
            "image": images,
            "instances": make_clip_instances(
                clip_masks, [a["category_id"] for a in annotations], range(len(annotations))
            ),
        }

    def _draw_motion(self, size: tuple[int, int]) -> list[T.TransformList]:
        """Turn and window of every frame of an image (height, width), in the order of time."""
        angles = np.sort(np.random.uniform(-self.rotation, self.rotation, self.num_frames))
        scale = np.random.uniform(self.min_window, 1)
        height, width = (max(1, round(scale * side)) for side in size)
        first, last = np.random.uniform(0, 1, (2, 2)) * (size[0] - height, size[1] - width)
        corners = np.linspace(first, last, self.num_frames).round().astype(int).tolist()
        return [
            T.TransformList(
                [
                    T.RotationTransform(*size, angle, expand=False),
                    T.CropTransform(left, top, width, height),
                ]
            )
            for angle, (top, left) in zip(angles, corners, strict=True)
        ]
