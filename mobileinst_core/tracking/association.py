"""Association of key frames: which query continues which track."""

from typing import Protocol

import numpy as np

from mobileinst_core.blas import one_blas_thread

from .assignment import linear_sum_assignment

__all__ = ["Tracker", "associate", "in_track_order", "normalize"]

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


@one_blas_thread
def associate(reference: np.ndarray | None, kernels: np.ndarray) -> np.ndarray:
    """For each track the query whose kernel is most like the track's, one-to-one.

    The sum of the cosine similarities is the largest possible (MobileInst, section 3.5, following
    MinVIS).

    Args:
        reference: (N, D), finite, what kernels are compared with, in the order of the tracks; None
            before the first key frame.
        kernels: (N, D). What is no number is like nothing.

    Returns:
        (N,) int64, query of each track.
    """
    if reference is None:
        return np.arange(len(kernels))
    with np.errstate(invalid="ignore", over="ignore"):
        # Zero kernels stay zero, so the similarity is always finite.
        similarity = normalize(reference) @ normalize(kernels).T  # tracks, queries
    similarity[np.isnan(similarity)] = 0
    return linear_sum_assignment(similarity, maximize=True)[1]


def in_track_order(kernels: np.ndarray, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Kernels in the order of the tracks, with zeros for those that are not finite.

    Args:
        kernels: (N, D), of the queries.
        order: (N,), query of each track.

    Returns:
        The kernels and which of them were finite, (N,) bool.
    """
    kernels = kernels[order]
    is_finite = np.isfinite(kernels).all(axis=1)
    kernels[~is_finite] = 0
    return kernels, is_finite


def normalize(x: np.ndarray) -> np.ndarray:
    """Rows of (N, D) divided by their length."""
    length = np.sqrt((x * x).sum(axis=1, keepdims=True))
    return x / np.maximum(length, _EPS)
