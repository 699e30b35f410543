"""Detectron2's resizing with the one function that resizes frames, for training and evaluation."""

import numpy as np
from detectron2.data import transforms as T
from PIL import Image

from mobileinst_core.video.resize import resize_image

__all__ = ["ResizeShortestEdge", "ResizeTransform"]


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
