"""Images in the form that graphs take: (1, 3, H, W), float32, in [0, 255]."""

from collections.abc import Sequence

import numpy as np

from .runners import ExportError

__all__ = ["blank_image", "pad_image"]


def blank_image(size: tuple[int, int], pad_value: Sequence[float]) -> np.ndarray:
    """The padding alone.

    Args:
        size: (H, W).
        pad_value: per channel.

    Returns:
        (1, 3, H, W).
    """
    values = np.asarray(pad_value, np.float32)[None, :, None, None]
    return np.broadcast_to(values, (1, len(pad_value), *size)).copy()


def pad_image(frame: np.ndarray, blank: np.ndarray) -> np.ndarray:
    """Put a frame top left into a blank image.

    Args:
        frame: (3, h, w), in [0, 255]; a tensor on the CPU will do.
        blank: see :func:`blank_image`; stays as it is.

    Returns:
        (1, 3, H, W).

    Raises:
        ExportError: the frame is too large.
    """
    height, width = frame.shape[-2:]
    if height > blank.shape[2] or width > blank.shape[3]:
        raise ExportError(
            f"an image of {height}x{width} pixels does not fit into the exported "
            f"{blank.shape[2]}x{blank.shape[3]}: resize it, as INPUT.FIXED_SIZE_TEST does"
        )
    image = blank.copy()
    image[0, :, :height, :width] = np.asarray(frame)
    return image
