"""From a frame as OpenCV reads it to the image that a network takes."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from mobileinst_core.options import check_option

from .resize import resize_image

__all__ = [
    "FramePreparation",
    "check_frame",
    "pad_image",
    "size_by_shortest_edge",
    "size_to_fit",
]


@dataclass(frozen=True, kw_only=True)
class FramePreparation:
    """Resizes frames as evaluation does, with the pixels that Detectron2's transforms give.

    Attributes:
        min_size: length of the shorter side; 0 = frames keep their size.
        max_size: limit of the longer side.
        fixed_size: (H, W) that frames are made to fit into, instead; None = the sides count.
        channels: what the network takes, "RGB" or "BGR".
    """

    min_size: int = 0
    max_size: int = sys.maxsize
    fixed_size: tuple[int, int] | None = None
    channels: str = "RGB"

    def __post_init__(self) -> None:
        """Refuse another order of channels."""
        check_option("channels", self.channels, ("RGB", "BGR"))

    def __call__(self, frame: np.ndarray) -> np.ndarray:
        """Resize a frame and order its channels: (H, W, 3) uint8 in BGR to (3, h, w) uint8.

        Raises:
            ValueError: it is no such frame.
        """
        check_frame(frame)
        return resize_image(
            frame, self._size(frame.shape[:2]), reverse_channels=self.channels == "RGB"
        )

    def _size(self, size: tuple[int, int]) -> tuple[int, int]:
        if self.fixed_size is not None:
            return size_to_fit(size, self.fixed_size)
        if self.min_size == 0:
            return size
        height, width = size_by_shortest_edge(size, self.min_size, self.max_size)
        # A side of very long images would vanish, as it does in Detectron2.
        return max(1, height), max(1, width)


def check_frame(frame: np.ndarray) -> None:
    """ValueError if it is no (H, W, 3) uint8 image, such as None at the end of a video."""
    shape, kind = np.shape(frame), getattr(frame, "dtype", type(frame).__name__)
    if len(shape) != 3 or shape[2] != 3 or 0 in shape or kind != np.uint8:
        raise ValueError(
            f"a frame must be an image in BGR, (H, W, 3) of uint8, got {kind} of shape {shape}; "
            "mobileinst_core.video.images.read_image gives one of any image file"
        )


def size_to_fit(size: tuple[int, int], limits: tuple[int, int]) -> tuple[int, int]:
    """The largest size (h, w) of the aspect ratio of ``size`` within limits, at least 1x1."""
    scale = min(limit / side for limit, side in zip(limits, size, strict=True))
    # A side of very long images would vanish.
    height, width = (max(1, round(side * scale)) for side in size)
    return height, width


def size_by_shortest_edge(size: tuple[int, int], min_size: int, max_size: int) -> tuple[int, int]:
    """The size of an image by its shorter side, as Detectron2's ResizeShortestEdge has it.

    Args:
        size: (H, W) of an image.
        min_size: length of the shorter side.
        max_size: limit of the longer side, for which the shorter one becomes less.

    Returns:
        (h, w).
    """
    scale = min_size / min(size)
    height, width = (min_size if side == min(size) else scale * side for side in size)
    if max(height, width) > max_size:
        scale = max_size / max(height, width)
        height, width = height * scale, width * scale
    return int(height + 0.5), int(width + 0.5)


def pad_image(
    image: np.ndarray,
    size: tuple[int, int],
    pad_value: Sequence[float],
    dtype: type[np.generic] = np.float32,
) -> np.ndarray:
    """Put an image top left into a batch of one.

    Args:
        image: (3, h, w), in [0, 255]; a tensor on the CPU will do.
        size: (H, W) of the batch.
        pad_value: of the rest, per channel.
        dtype: float32; or uint8, for which the padding is rounded, and which the image must have.

    Returns:
        (1, 3, H, W).

    Raises:
        ValueError: the image is too large.
    """
    height, width = image.shape[-2:]
    if height > size[0] or width > size[1]:
        raise ValueError(
            f"an image of {height}x{width} pixels does not fit into {size[0]}x{size[1]}: resize it"
        )
    batch = np.empty((1, len(pad_value), *size), dtype)
    batch[0, :, :height, :width] = np.asarray(image)
    padding = np.asarray(pad_value, np.float32)[:, None, None]
    padding = padding.round() if dtype == np.uint8 else padding
    batch[0, :, height:] = padding
    batch[0, :, :height, width:] = padding
    return batch
