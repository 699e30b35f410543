"""Association with the key frame before, as the paper does it."""

import numpy as np

from .association import associate, in_track_order

__all__ = ["PreviousKeyframe"]


class PreviousKeyframe:
    """A :class:`Tracker` that compares a key frame with the one before (paper, section 3.5).

    When an object leaves, some query without an object takes its track and its reference.
    """

    def __init__(self) -> None:
        """Start without a video."""
        self.reset()

    def reset(self) -> None:
        """Forget everything: the next key frame starts a new video."""
        self._reference: np.ndarray | None = None  # tracks, channels

    def associate(self, kernels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`; scores do not count."""
        order = associate(self._reference, kernels)
        kernels, is_finite = in_track_order(kernels, order)
        if self._reference is not None:
            # A failed frame never enters.
            kernels[~is_finite] = self._reference[~is_finite]
        self._reference = kernels
        return order

    def state_dict(self) -> dict[str, np.ndarray]:
        """See :class:`Tracker`."""
        return {} if self._reference is None else {"reference": self._reference}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """See :class:`Tracker`."""
        self._reference = state.get("reference")
