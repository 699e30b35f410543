"""Reading images, with errors that name the file, and a policy for damaged ones."""

import logging
import os

import numpy as np
import torch
from detectron2.data import detection_utils
from detectron2.utils.logger import log_first_n

__all__ = ["ImageReadError", "UnreadableFiles", "read_image", "to_tensor"]

# What Pillow raises for missing, truncated and damaged files.
_READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError)


class ImageReadError(OSError):
    """An image file is missing, truncated or no image."""


def read_image(
    file_name: str,
    image_format: str,
    *,
    size: tuple[int, int] | None = None,
    allow_transposed: bool = False,
) -> np.ndarray:
    """Read an image and check its size.

    Args:
        file_name: image file.
        image_format: ``INPUT.FORMAT``, "RGB" or "BGR".
        size: (height, width) according to the annotations, in pixels; None = not checked.
        allow_transposed: if the file has exactly this size with the sides exchanged, exchange
            its axes, with a warning. Some videos of YouTube-VIS are stored in this way.

    Returns:
        the image, (height, width, 3) uint8.

    Raises:
        ImageReadError: if the file is missing, truncated or no image.
        detectron2.data.detection_utils.SizeMismatchError: if the size differs.
    """
    try:
        image = detection_utils.read_image(file_name, format=image_format)
    except _READ_ERRORS as error:
        raise ImageReadError(f"Cannot read the image {file_name}: {error}") from error
    if size is None or image.shape[:2] == tuple(size):
        return image
    if allow_transposed and image.shape[1::-1] == tuple(size):
        log_first_n(
            logging.WARNING,
            f"Frames in {os.path.dirname(file_name)} have the sides exchanged with respect to "
            "the annotations; they are transposed.",
            key="message",
        )
        return image.swapaxes(0, 1)
    raise detection_utils.SizeMismatchError(
        f"The image {file_name} has height x width {image.shape[0]} x {image.shape[1]} but its "
        f"annotations say {size[0]} x {size[1]}. Check the annotation file and the image folder."
    )


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Convert (H, W, 3) uint8 to a tensor (3, H, W) uint8."""
    return torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))


class UnreadableFiles:
    """What a mapper does about unreadable images in training: pass over some, not over many.

    A mapper that returns None makes Detectron2 draw another sample, so that one damaged file
    does not end a run of days. Each such file is logged once. But many failures without one
    success in between mean that something else is wrong, most often the image folder; then the
    error is raised. The count is kept per loader process.
    """

    def __init__(self, max_consecutive: int = 10) -> None:
        """Start a count.

        Args:
            max_consecutive: failures in a row that are passed over.
        """
        self._max_consecutive = max_consecutive
        self._consecutive = 0
        self._logged: set[str] = set()

    def report_success(self) -> None:
        """Note that all images of a sample could be read."""
        self._consecutive = 0

    def report_failure(self, error: ImageReadError) -> None:
        """Log a failure, once per file.

        Args:
            error: what :func:`read_image` raised.

        Raises:
            ImageReadError: if there were too many failures in a row.
        """
        self._consecutive += 1
        if self._consecutive > self._max_consecutive:
            raise ImageReadError(
                f"{self._consecutive} samples in a row have an unreadable image; is the image "
                f"folder of the dataset right? The last: {error}"
            ) from error
        message = str(error)
        if message not in self._logged:
            self._logged.add(message)
            logging.getLogger(__name__).error("%s. Another sample is drawn instead.", message)
