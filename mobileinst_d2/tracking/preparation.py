"""From a frame as OpenCV reads it to the image that the network takes."""

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T

from ..utils.evaluation_resizing import build_test_augmentations

__all__ = ["FramePreparation"]


class FramePreparation:
    """The transforms of evaluation, for one frame at a time."""

    @configurable
    def __init__(
        self, *, augmentations: list[T.Augmentation | T.Transform], image_format: str
    ) -> None:
        """Set up.

        Args:
            augmentations: applied to each frame; must not be random.
            image_format: what the network takes, "RGB" or "BGR".
        """
        self.augmentations = T.AugmentationList(augmentations)
        self.flip_channels = image_format == "RGB"

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Keyword arguments from ``cfg.INPUT``."""
        return {
            "augmentations": build_test_augmentations(cfg),
            "image_format": cfg.INPUT.FORMAT,
        }

    def __call__(self, frame: np.ndarray) -> torch.Tensor:
        """Resize a frame and order its channels.

        Args:
            frame: (H, W, 3), uint8, BGR.

        Returns:
            (3, h, w), uint8.
        """
        augmented = T.AugInput(frame[:, :, ::-1] if self.flip_channels else frame)
        self.augmentations(augmented)
        return torch.from_numpy(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))
