"""Association with a memory of each track."""

import numpy as np

from .association import associate, normalize

__all__ = ["MovingAverage"]


class MovingAverage:
    """A :class:`Tracker` that compares a key frame with a moving average of those before.

    The average is over the key frames in which the track's best score reaches a threshold; the
    first of them sets it. So the reference of an object that is out of sight stays as it was.
    Kernels are averaged by direction, which is all that a cosine compares.
    """

    def __init__(self, *, momentum: float = 0.3, update_threshold: float = 0.4) -> None:
        """Start without a video.

        Args:
            momentum: m of ``(1 - m) * average + m * kernel``, in (0, 1]; 1 = the last key frame
                with such a score alone.
            update_threshold: best score from which a key frame changes a track's average, in
                [0, 1].

        Raises:
            ValueError: if an argument is out of range.
        """
        if not 0 < momentum <= 1:
            raise ValueError(f"momentum is {momentum}, it must be in (0, 1]")
        if not 0 <= update_threshold <= 1:
            raise ValueError(f"update_threshold is {update_threshold}, it must be in [0, 1]")
        self.momentum = momentum
        self.update_threshold = update_threshold
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next key frame starts a new video."""
        self._reference: np.ndarray | None = None  # tracks, channels
        self._is_set: np.ndarray | None = None  # tracks: has a score reached the threshold?

    def associate(self, kernels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`."""
        units, is_finite = normalize(kernels)
        reference = None if self._reference is None else normalize(self._reference)[0]
        order = associate(reference, units)
        units, is_finite = units[order], is_finite[order]
        if self._reference is None:
            # A track that no object has taken yet is compared with what its query was at first.
            self._reference = units
            self._is_set = np.zeros_like(is_finite)
        update = is_finite & (scores[order].max(axis=1) >= self.update_threshold)
        mixed = (1 - self.momentum) * self._reference + self.momentum * units
        mixed = np.where(self._is_set[:, None], mixed, units)
        self._is_set = self._is_set | update
        self._reference = np.where(update[:, None], mixed, self._reference)
        return order

    def state_dict(self) -> dict[str, np.ndarray]:
        """See :class:`Tracker`."""
        if self._reference is None:
            return {}
        return {"reference": self._reference, "is_set": self._is_set}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """See :class:`Tracker`."""
        self._reference, self._is_set = state.get("reference"), state.get("is_set")
