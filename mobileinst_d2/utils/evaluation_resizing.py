"""How images are resized for the network where nothing is trained."""

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.detection_utils import build_augmentation

from mobileinst_core.errors import ConfigError
from mobileinst_core.video.preparation import FramePreparation, size_to_fit

from .resize_transform import ResizeShortestEdge, ResizeTransform

__all__ = ["ResizeToFit", "build_frame_preparation", "build_test_augmentations", "fixed_test_size"]


def fixed_test_size(cfg: CfgNode) -> tuple[int, int] | None:
    """``INPUT.FIXED_SIZE_TEST`` as (H, W); None where the input's size follows from the image's.

    Raises:
        ConfigError: if it is neither empty nor two positive whole numbers.
    """
    size = tuple(cfg.INPUT.FIXED_SIZE_TEST)
    if not size:
        return None
    if len(size) != 2 or not all(isinstance(side, int) and side > 0 for side in size):
        raise ConfigError(
            f"INPUT.FIXED_SIZE_TEST is {size}: give height and width as two positive whole "
            "numbers, such as (640, 640), or () for none"
        )
    return size


def build_test_augmentations(cfg: CfgNode) -> list[T.Augmentation]:
    """The resizing of evaluation, demo and live tracking, which is not random.

    ConfigError as of :func:`fixed_test_size`.
    """
    size = fixed_test_size(cfg)
    if size is not None:
        return [ResizeToFit(size)]
    return ResizeShortestEdge.replace_in(build_augmentation(cfg, is_train=False))


def build_frame_preparation(cfg: CfgNode) -> FramePreparation:
    """The same for a frame as OpenCV reads it, without Detectron2's transforms."""
    return FramePreparation(
        min_size=cfg.INPUT.MIN_SIZE_TEST,
        max_size=cfg.INPUT.MAX_SIZE_TEST,
        fixed_size=fixed_test_size(cfg),
        channels=cfg.INPUT.FORMAT,
    )


class ResizeToFit(T.Augmentation):
    """Makes an image as large as fits into a frame, with its aspect ratio."""

    def __init__(self, size: tuple[int, int]) -> None:
        """Keep the size (H, W) of the frame."""
        self.size = size

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """The bilinear resizing of one image, (h, w, 3)."""
        size = image.shape[:2]
        return ResizeTransform(*size, *size_to_fit(size, self.size))
