"""An image as the batch of one that a graph takes."""

from collections.abc import Sequence

import numpy as np

from mobileinst_core.masks.resize import bilinear_resize
from mobileinst_core.video.preparation import pad_image

__all__ = ["fit_image"]


def fit_image(
    image: np.ndarray,
    size: tuple[int, int],
    *,
    pad_value: Sequence[float],
    stretch: bool,
    dtype: type[np.generic] = np.float32,
) -> np.ndarray:
    """Put an image top left into a batch, or stretch it to the batch.

    It is stretched bilinearly and without rounding, with PyTorch's places of pixels: OpenCV's, of
    less digits, make a difference of a hundredth of a grey level.

    Args:
        image: (3, h, w), in [0, 255]; a tensor on the CPU will do.
        size: (H, W) of the batch.
        pad_value: of what the image does not fill, per channel.
        stretch: whether the image is stretched.
        dtype: what a graph takes; uint8 only has an effect if nothing has to be rounded.

    Returns:
        (1, 3, H, W), float32 or uint8.

    Raises:
        ValueError: the image is too large, and not stretched.
    """
    if not stretch:
        is_integer = dtype == np.uint8 and getattr(image, "dtype", None) == np.uint8
        return pad_image(image, size, pad_value, np.uint8 if is_integer else np.float32)
    channels = np.asarray(image, np.float32)
    return np.stack([bilinear_resize(channel, size) for channel in channels])[None]
