"""Association with the key frame before, as the paper does it."""

import numpy as np

from .association import associate, normalize

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
        self._reference: np.ndarray | None = None  # tracks, channels: of length 1

    def associate(self, kernels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """See :class:`Tracker`; scores do not count."""
        units, is_finite = normalize(kernels)
        order = associate(self._reference, units)
        units = units[order]
        if self._reference is not None and not is_finite.all():
            # A failed frame never enters.
            has_failed = ~is_finite[order]
            units[has_failed] = self._reference[has_failed]
        self._reference = units
        return order

    def state_dict(self) -> dict[str, np.ndarray]:
        """See :class:`Tracker`."""
        return {} if self._reference is None else {"reference": self._reference}

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """See :class:`Tracker`."""
        self._reference = state.get("reference")
