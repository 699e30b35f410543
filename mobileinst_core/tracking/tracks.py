"""When the tracks of a stream are visible, as which class and under which identity."""

from collections.abc import Mapping

import numpy as np

__all__ = ["TrackManager"]

# What is kept of each track.
_PER_TRACK = ("scores", "classes", "visible", "ids", "periods", "hidden")


class TrackManager:
    """Turns the scores of key frames into instances that do not flicker, in constant memory.

    A pure state machine. Scores are smoothed; a track becomes visible and hidden with hysteresis;
    what was hidden for long comes back under a new identity. Identities begin at 1, grow, and are
    never used again.

    Attributes:
        best_score: the highest smoothed score since the start of the stream, 0 before; to tell the
            user why nothing is visible.
    """

    def __init__(
        self,
        *,
        score_on: float = 0.4,
        score_off: float = 0.2,
        max_lost: int = 30,
        smoothing: float = 0.8,
        class_margin: float = 0.1,
    ) -> None:
        """Start a stream.

        Args:
            score_on: a track becomes visible when its smoothed score reaches this.
            score_off: and hidden when it falls below this.
            max_lost: a track hidden for more key frames than this comes back as a new identity.
            smoothing: weight of the past in the moving average of the scores, in [0, 1).
            class_margin: the shown class changes when another one leads by this.

        Raises:
            ValueError: if ``score_off`` exceeds ``score_on``, or an argument is out of range.
        """
        if not 0 <= score_off <= score_on <= 1:
            raise ValueError(
                f"score_off {score_off} and score_on {score_on} must satisfy "
                "0 <= score_off <= score_on <= 1"
            )
        if not 0 <= smoothing < 1:
            raise ValueError(f"smoothing is {smoothing}, it must be in [0, 1)")
        if max_lost < 0:
            raise ValueError(f"max_lost is {max_lost}, it must be at least 0")
        self.score_on = score_on
        self.score_off = score_off
        self.max_lost = max_lost
        self.smoothing = smoothing
        self.class_margin = class_margin
        self.reset()

    def reset(self) -> None:
        """Start a new stream. Identities start at 1 again."""
        self.best_score = 0.0
        self._next_id = 1
        self._scores: np.ndarray | None = None  # tracks, classes: smoothed
        self._classes: np.ndarray | None = None  # tracks: shown class
        self._visible: np.ndarray | None = None  # tracks: bool
        self._ids: np.ndarray | None = None  # tracks: identity, 0 = none yet
        self._periods: np.ndarray | None = None  # tracks: frames shown under the identity
        self._hidden: np.ndarray | None = None  # tracks: key frames since last visible

    def update(self, scores: np.ndarray) -> None:
        """Take the scores of a key frame.

        Args:
            scores: (N, K), in [0, 1]; NaN counts as 0, as it would stay in the average for ever.
        """
        # Arrays are replaced and not written to: states handed out before stay as they are.
        scores = np.fmax(scores, np.float32(0), dtype=np.float32)
        if self._scores is None:
            self._scores, self._classes = scores, scores.argmax(axis=1)
            self._ids = self._periods = self._hidden = np.zeros_like(self._classes)
            self._visible = np.zeros(len(scores), bool)
        else:
            self._scores = self.smoothing * self._scores + (1 - self.smoothing) * scores
            # A hidden track has nothing on the screen that could flicker.
            leader = self._scores.argmax(axis=1)
            highest = self._scores[np.arange(len(leader)), leader]
            is_clear = highest >= self._shown_scores() + self.class_margin
            self._classes = np.where(~self._visible | is_clear, leader, self._classes)
        best = self._shown_scores()
        self.best_score = max(self.best_score, float(best.max(initial=0.0)))
        self._visible = np.where(self._visible, best >= self.score_off, best >= self.score_on)
        fresh = self._visible & ~self._is_alive()
        newcomers = fresh.nonzero()[0]
        if len(newcomers):
            newcomers = newcomers[np.argsort(-best[newcomers], kind="stable")]
            self._ids = self._ids.copy()
            self._ids[newcomers] = np.arange(self._next_id, self._next_id + len(newcomers))
            self._next_id += len(newcomers)
            self._periods = np.where(fresh, 0, self._periods)
        self._hidden = np.where(self._visible, 0, self._hidden + 1)

    def candidates(self, scores: np.ndarray) -> np.ndarray:
        """Tracks that can be visible after an update with these scores, or lower ones.

        Args:
            scores: (N, K), in [0, 1]; NaN counts as 0.

        Returns:
            (n,) int64, their numbers in ascending order.
        """
        possible = (scores >= self.score_off).any(axis=1)
        if self._visible is not None:
            possible |= self._visible
        return possible.nonzero()[0]

    def visible(self, max_instances: int) -> np.ndarray:
        """Numbers of the visible tracks, best first, at most so many."""
        tracks = self._visible.nonzero()[0]
        order = (-self._shown_scores()[tracks]).argsort(kind="stable")
        return tracks[order][:max_instances]

    def show(self, tracks: np.ndarray) -> dict[str, np.ndarray]:
        """Count a frame that shows some tracks.

        Args:
            tracks: (n,), their numbers.

        Returns:
            Their ``classes``, ``scores``, ``ids`` and ``periods``, the frames so far that showed
            the identity; each of length n.
        """
        self._periods = self._periods.copy()
        self._periods[tracks] += 1
        return {
            "classes": self._classes[tracks],
            "scores": self._shown_scores()[tracks],
            "ids": self._ids[tracks],
            "periods": self._periods[tracks],
        }

    def ids_alive(self) -> list[int]:
        """Identities that are visible or can become so again, in ascending order."""
        return [] if self._ids is None else sorted(self._ids[self._is_alive()].tolist())

    def state_dict(self) -> dict[str, np.ndarray | int]:
        """The state, of a size that does not depend on the length of the stream."""
        state = {name: getattr(self, f"_{name}") for name in _PER_TRACK}
        return {k: x for k, x in state.items() if x is not None} | {"next_id": self._next_id}

    def load_state_dict(self, state: Mapping[str, np.ndarray | int]) -> None:
        """Resume from a state that :meth:`state_dict` gave."""
        self._next_id = int(state["next_id"])
        for name in _PER_TRACK:
            setattr(self, f"_{name}", state.get(name))

    def _shown_scores(self) -> np.ndarray:
        """(N,), the smoothed score of each track's shown class."""
        return self._scores[np.arange(len(self._classes)), self._classes]

    def _is_alive(self) -> np.ndarray:
        """(N,), bool: the track's identity is not lost for good."""
        return (self._ids > 0) & (self._hidden <= self.max_lost)
