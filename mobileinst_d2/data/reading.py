"""Images as tensors, and a policy for bad records."""

import logging
from collections.abc import Callable

import numpy as np
import torch

from mobileinst_core.errors import UserError
from mobileinst_core.video.images import ImageReadError, ImageSizeError

__all__ = ["BadRecordError", "BadRecords", "to_tensor"]

# Failures in a row that are skipped.
_MAX_CONSECUTIVE = 10


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Convert (H, W, 3) uint8 to a tensor (3, H, W) uint8."""
    return torch.as_tensor(np.ascontiguousarray(image.transpose(2, 0, 1)))


class BadRecordError(UserError, ValueError):
    """The annotations of a record cannot be used; the message names it."""


class BadRecords:
    """What a mapper does about bad records in training: skip some, not many.

    They are images that are missing, damaged or of another size than their annotations say, and
    masks that are malformed. A mapper that returns None makes Detectron2 draw another sample, so
    that one damaged file does not end a run of days. Each fault is logged once. But many failures
    without one success in between mean that something else is wrong, most often the image folder;
    then the error is raised. The count is kept per loader process.
    """

    def __init__(self) -> None:
        """Start a count."""
        self._consecutive = 0
        self._logged: set[str] = set()

    def map(self, function: Callable[[dict], dict], record: dict) -> dict | None:
        """Map a record.

        Args:
            function: maps a record; raises one of the errors below if it is bad.
            record: its argument.

        Returns:
            What the function returned; None if the record is bad.

        Raises:
            ImageReadError, ImageSizeError, BadRecordError: there were too many failures in a row;
                the type is that of the last.
        """
        try:
            sample = function(record)
        except (ImageReadError, ImageSizeError, BadRecordError) as error:
            self._report(error)
            return None
        self._consecutive = 0
        return sample

    def _report(self, error: UserError) -> None:
        self._consecutive += 1
        if self._consecutive > _MAX_CONSECUTIVE:
            raise type(error)(
                f"{self._consecutive} samples in a row cannot be used; are annotation file and "
                f"image folder those of one dataset? The last: {error}"
            ) from error
        message = str(error).rstrip(".")
        if message not in self._logged:
            self._logged.add(message)
            logging.getLogger(__name__).error("%s. Another sample is drawn instead.", message)
