"""What is found in an image."""

from dataclasses import dataclass, fields
from typing import Any

import numpy as np

__all__ = ["Detections"]


@dataclass(frozen=True, kw_only=True)
class Detections:
    """Instances of an image or of a frame, best first.

    Attributes:
        masks: (n, H, W) bool; or a list of n RLEs with text, where those were asked for.
        boxes: (n, 4) float32, tight around the masks: x0, y0, x1, y1 in pixels.
        scores: (n,) float32, in [0, 1].
        classes: (n,) int64, class indices from 0.
        ids: (n,) int64, identities from 1 where frames are tracked, else None.
        periods: (n,) int64, frames so far that showed the identity, where frames are tracked.
        encoded_size: (H, W) of the image where the masks are RLEs, else None.
    """

    masks: np.ndarray | list[dict[str, Any]]
    boxes: np.ndarray
    scores: np.ndarray
    classes: np.ndarray
    ids: np.ndarray | None = None
    periods: np.ndarray | None = None
    encoded_size: tuple[int, int] | None = None

    @property
    def image_size(self) -> tuple[int, int]:
        """(H, W) of the image."""
        return self.encoded_size or self.masks.shape[1:]

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, index: np.ndarray | slice) -> "Detections":
        """Some of the instances, by numbers, by a slice or by booleans."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return Detections(**{k: None if x is None else x[index] for k, x in values.items()})
