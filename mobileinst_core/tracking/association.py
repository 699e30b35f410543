"""Association of key frames: which query continues which track.

``build_tracker`` makes one of the two trackers here: the paper's, which compares a key frame with
the one before, or one with a memory of each track.
"""

from typing import Protocol

import numpy as np

from mobileinst_core.arrays import one_blas_thread
from mobileinst_core.options import check_option

from .assignment import linear_sum_assignment

__all__ = [
    "TRACKING_MODES",
    "MovingAverage",
    "PreviousKeyframe",
    "Tracker",
    "associate",
    "build_tracker",
    "normalize",
]

TRACKING_MODES = ("prev", "ema")

# What `normalize` divides by at least, as torch.nn.functional.normalize does.
_EPS = np.float32(1e-12)


class Tracker(Protocol):
    """Associates the key frames of a video, one after the other.

    Every query is a track for the whole video, without births, deaths or gates. A tracker needs
    neither networks nor images.
    """

    def associate(self, kernels: np.ndarray, scores: np.ndarray) -> np.ndarray:
        """Take up a new key frame.

        Args:
            kernels: (N, D) float32, one per query; what is no number must do no lasting harm.
            scores: (N, K), class scores in [0, 1].

        Returns:
            (N,) int64, a permutation; track t is query ``order[t]`` of the key frame. At the
            first key frame tracks are queries.
        """

    def reset(self) -> None:
        """Forget everything: the next key frame starts a new video."""

    def state_dict(self) -> dict[str, np.ndarray]:
        """The state as arrays that are not written to later; empty before the first key frame."""

    def load_state_dict(self, state: dict[str, np.ndarray]) -> None:
        """Resume from the state of another tracker of the same kind."""


def build_tracker(mode: str) -> Tracker:
    """Make a tracker that has seen nothing.

    Args:
        mode: "prev" compares a key frame with the one before, "ema" with a moving average.

    Returns:
        The tracker.

    Raises:
        ConfigError: if the mode is unknown.
    """
    check_option("mode", mode, TRACKING_MODES)
    return MovingAverage() if mode == "ema" else PreviousKeyframe()


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
        """See :class:`Tracker`; ValueError if it is the state of another one."""
        if ("reference" in state) != ("is_set" in state):
            raise ValueError(
                "this state is of association with the previous key frame, not with a moving "
                "average: both streams need the same TEST.TRACKING.MODE"
            )
        self._reference, self._is_set = state.get("reference"), state.get("is_set")


@one_blas_thread
def associate(reference: np.ndarray | None, units: np.ndarray) -> np.ndarray:
    """For each track the query whose kernel is most like the track's, one-to-one.

    The sum of the cosine similarities is the largest possible (MobileInst, section 3.5, following
    MinVIS).

    Args:
        reference: (N, D), from `normalize`, what kernels are compared with, in the order of the
            tracks; None before the first key frame.
        units: (N, D), from `normalize`.

    Returns:
        (N,) int64, query of each track.
    """
    if reference is None:
        return np.arange(len(units))
    similarity = reference @ units.T  # tracks, queries
    return linear_sum_assignment(similarity, maximize=True)[1]


def normalize(kernels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernels divided by their length, of which cosines are products.

    Args:
        kernels: (N, D).

    Returns:
        (N, D), zeros for what has no length or is no number, which is like nothing; and which of
        them are finite, (N,) bool.
    """
    square = np.einsum("nd,nd->n", kernels, kernels)
    is_finite = np.isfinite(square)
    if not is_finite.all():
        kernels = np.where(is_finite[:, None], kernels, np.float32(0))
        square = np.where(is_finite, square, np.float32(0))
    return kernels / np.sqrt(np.maximum(square, _EPS**2))[:, None], is_finite
