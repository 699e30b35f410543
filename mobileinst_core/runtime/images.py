"""Images in the form that graphs take."""

from collections.abc import Sequence

import numpy as np

from .runners import ExportError

__all__ = ["pad_image"]


def pad_image(image: np.ndarray, size: tuple[int, int], pad_value: Sequence[float]) -> np.ndarray:
    """Put an image top left into a batch of one.

    Args:
        image: (3, h, w), in [0, 255]; a tensor on the CPU will do.
        size: (H, W) of the batch.
        pad_value: of the rest, per channel.

    Returns:
        (1, 3, H, W), float32.

    Raises:
        ExportError: the image is too large.
    """
    height, width = image.shape[-2:]
    if height > size[0] or width > size[1]:
        raise ExportError(
            f"an image of {height}x{width} pixels does not fit into the exported "
            f"{size[0]}x{size[1]}: resize it, as INPUT.FIXED_SIZE_TEST does"
        )
    batch = np.empty((1, len(pad_value), *size), np.float32)
    batch[:] = np.asarray(pad_value, np.float32)[:, None, None]
    batch[0, :, :height, :width] = np.asarray(image)
    return batch
