"""How images are resized for the network: with one function, in training and in evaluation.

The transforms are Detectron2's, with the pixels that frames of videos have.
"""

import numpy as np
from detectron2.config import CfgNode
from detectron2.data import transforms as T
from detectron2.data.detection_utils import build_augmentation
from PIL import Image

from mobileinst_core.errors import ConfigError
from mobileinst_core.video.preparation import FramePreparation, size_to_fit
from mobileinst_core.video.resize import resize_image

__all__ = [
    "ResizeShortestEdge",
    "ResizeToFit",
    "ResizeTransform",
    "build_frame_preparation",
    "build_test_augmentations",
    "fixed_test_size",
]


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


class ResizeTransform(T.ResizeTransform):
    """Detectron2's transform; images come from :func:`resize_image`, with the same bytes."""

    def apply_image(self, img: np.ndarray, interp: int | None = None) -> np.ndarray:
        """Resize an image.

        Args:
            img: (H, W, 3) uint8, or what Detectron2's transform takes.
            interp: an interpolation of Pillow; None = that of the transform.

        Returns:
            (h, w, 3), the memory of which lies plane by plane.
        """
        method = self.interp if interp is None else interp
        if img.dtype != np.uint8 or img.shape[2:] != (3,) or method != Image.BILINEAR:
            return super().apply_image(img, interp)
        return resize_image(img, (self.new_h, self.new_w)).transpose(1, 2, 0)


class ResizeShortestEdge(T.ResizeShortestEdge):
    """Detectron2's augmentation, with :class:`ResizeTransform`."""

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """Draw the resizing of one image, (H, W, 3)."""
        drawn = super().get_transform(image)
        if not isinstance(drawn, T.ResizeTransform):
            return drawn
        # A side of very long images would vanish.
        new_size = max(1, drawn.new_h), max(1, drawn.new_w)
        return ResizeTransform(drawn.h, drawn.w, *new_size, drawn.interp)

    @classmethod
    def replace_in(cls, augmentations: list[T.Augmentation]) -> list[T.Augmentation]:
        """Augmentations as Detectron2 builds them, with this class in place of its own."""
        return [
            cls(x.short_edge_length, x.max_size, "range" if x.is_range else "choice", x.interp)
            if type(x) is T.ResizeShortestEdge
            else x
            for x in augmentations
        ]


class ResizeToFit(T.Augmentation):
    """Makes an image as large as fits into a frame, with its aspect ratio."""

    def __init__(self, size: tuple[int, int]) -> None:
        """Keep the size (H, W) of the frame."""
        self.size = size

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """The bilinear resizing of one image, (h, w, 3)."""
        size = image.shape[:2]
        return ResizeTransform(*size, *size_to_fit(size, self.size))
