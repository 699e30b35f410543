"""Images as tensors, and a policy for damaged ones."""

import logging

import numpy as np
import torch

from mobileinst_core.video.images import ImageReadError

__all__ = ["UnreadableFiles", "to_tensor"]


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
            error: what :func:`mobileinst_core.video.images.read_image` raised.

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
