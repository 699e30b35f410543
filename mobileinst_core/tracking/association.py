"""Association of key frames: which query continues which track."""

from typing import Protocol

import numpy as np

from mobileinst_core.blas import one_blas_thread

from .assignment import linear_sum_assignment

__all__ = ["Tracker", "associate", "normalize"]

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
