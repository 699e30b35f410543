"""An image as the batch of one that a graph takes."""

from collections.abc import Sequence

import numpy as np

from mobileinst_core.masks.resize import bilinear_resize
from mobileinst_core.video.preparation import pad_image

__all__ = ["fit_image"]


def fit_image(
    image: np.ndarray, size: tuple[int, int], *, pad_value: Sequence[float], stretch: bool
) -> np.ndarray:
    """Put an image top left into a batch, or stretch it to the batch.

    It is stretched bilinearly and without rounding, with PyTorch's places of pixels: OpenCV's, of
    less digits, make a difference of a hundredth of a grey level.

    Args:
        image: (3, h, w), in [0, 255]; a tensor on the CPU will do.
        size: (H, W) of the batch.
        pad_value: of what the image does not fill, per channel.
        stretch: whether the image is stretched.

    Returns:
        (1, 3, H, W), float32.

    Raises:
        ValueError: the image is too large, and not stretched.
    """
    if not stretch:
        return pad_image(image, size, pad_value)
    channels = np.asarray(image, np.float32)
    return np.stack([bilinear_resize(channel, size) for channel in channels])[None]
