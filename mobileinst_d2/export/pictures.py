"""Pictures in the form that graphs take: (1, 3, H, W), float32, in [0, 255]."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F

from mobileinst_core.runtime.runners import ExportError

__all__ = ["blank_picture", "pad_picture", "sample_picture"]


def blank_picture(size: tuple[int, int], pad_value: Sequence[float]) -> np.ndarray:
    """The padding alone.

    Args:
        size: (H, W).
        pad_value: per channel.

    Returns:
        (1, 3, H, W).
    """
    values = np.asarray(pad_value, np.float32)[None, :, None, None]
    return np.broadcast_to(values, (1, len(pad_value), *size)).copy()


def pad_picture(frame: torch.Tensor | np.ndarray, blank: np.ndarray) -> np.ndarray:
    """Put a frame top left into a blank picture.

    Args:
        frame: (3, h, w), in [0, 255].
        blank: see :func:`blank_picture`; stays as it is.

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
    picture = blank.copy()
    picture[0, :, :height, :width] = np.asarray(frame)
    return picture


def sample_picture(size: tuple[int, int]) -> np.ndarray:
    """A picture with coarse and fine structure, the same in each call.

    Args:
        size: (H, W).

    Returns:
        (1, 3, H, W).
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 5, 7, generator=generator)
    smooth = F.interpolate(coarse, size=tuple(size), mode="bicubic")
    fine = torch.rand(1, 3, *size, generator=generator)
    return (255 * (0.85 * smooth + 0.15 * fine)).clamp(0, 255).numpy()
