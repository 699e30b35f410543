"""When the slots of a stream are visible, as which class and under which identity."""

import torch

__all__ = ["SlotLifecycle"]


class SlotLifecycle:
    """Turns the scores of key frames into instances that do not flicker, in constant memory.

    A pure state machine. Scores are smoothed; a slot becomes visible and hidden with hysteresis;
    what was hidden for long comes back under a new identity. Identities begin at 1, grow, and are
    never used again.
    """

    def __init__(
        self,
        *,
        score_on: float,
        score_off: float,
        max_lost: int,
        smoothing: float,
        class_margin: float,
    ) -> None:
        """Start a stream. The arguments are those of :class:`StreamingPredictor`.

        Raises:
            ValueError: if ``score_off`` exceeds ``score_on``, or an argument is out of range.
        """
        if not 0 <= score_off <= score_on <= 1:
            raise ValueError(
                f"TEST.STREAMING: SCORE_OFF {score_off} and SCORE_ON {score_on} must satisfy "
                "0 <= SCORE_OFF <= SCORE_ON <= 1"
            )
        if not 0 <= smoothing < 1:
            raise ValueError(f"TEST.STREAMING.SMOOTHING is {smoothing}, it must be in [0, 1)")
        self.score_on = score_on
        self.score_off = score_off
        self.max_lost = max_lost
        self.smoothing = smoothing
        self.class_margin = class_margin
        self.reset()

    def reset(self) -> None:
        """Start a new stream. Identities start at 1 again."""
        self._next_id = 1
        self._scores: torch.Tensor | None = None  # slots, classes: smoothed
        self._classes: torch.Tensor | None = None  # slots: shown class
        self._visible: torch.Tensor | None = None  # slots: bool
        self._ids: torch.Tensor | None = None  # slots: identity, 0 = none yet
        self._periods: torch.Tensor | None = None  # slots: frames shown under the identity
        self._hidden: torch.Tensor | None = None  # slots: key frames since last visible

    def update(self, scores: torch.Tensor) -> None:
        """Take the scores of a key frame.

        Args:
            scores: (N, K), in [0, 1]; NaN counts as 0, as it would stay in the average for ever.
        """
        # Tensors are replaced and not written to: states handed out before stay as they are.
        scores = scores.detach().float().cpu().nan_to_num(0.0)
        if self._scores is None:
            self._scores, self._classes = scores, scores.argmax(dim=1)
            self._ids = self._periods = self._hidden = torch.zeros_like(self._classes)
            self._visible = torch.zeros_like(self._classes, dtype=torch.bool)
        else:
            self._scores = self.smoothing * self._scores + (1 - self.smoothing) * scores
            leader = self._scores.max(dim=1)
            # A hidden slot has nothing on the screen that could flicker.
            switch = ~self._visible | (leader.values >= self._shown_scores() + self.class_margin)
            self._classes = torch.where(switch, leader.indices, self._classes)
        best = self._shown_scores()
        self._visible = torch.where(self._visible, best >= self.score_off, best >= self.score_on)
        fresh = self._visible & ~self._is_alive()
        newcomers = fresh.nonzero()[:, 0]
        newcomers = newcomers[best[newcomers].argsort(descending=True, stable=True)]
        self._ids = self._ids.clone()
        self._ids[newcomers] = torch.arange(self._next_id, self._next_id + len(newcomers))
        self._next_id += len(newcomers)
        self._periods = torch.where(fresh, 0, self._periods)
        self._hidden = torch.where(self._visible, 0, self._hidden + 1)

    def candidates(self, scores: torch.Tensor) -> torch.Tensor:
        """Slots that can be visible after an update with these scores, or lower ones.

        Args:
            scores: (N, K), in [0, 1]; NaN counts as 0.

        Returns:
            (n,) int64, their numbers in ascending order.
        """
        possible = (scores.detach().cpu() >= self.score_off).any(dim=1)
        if self._visible is not None:
            possible = possible | self._visible
        return possible.nonzero()[:, 0]

    def visible(self, max_instances: int) -> torch.Tensor:
        """Numbers of the visible slots, best first, at most so many."""
        slots = self._visible.nonzero()[:, 0]
        order = self._shown_scores()[slots].argsort(descending=True, stable=True)
        return slots[order][:max_instances]

    def show(self, slots: torch.Tensor) -> dict[str, torch.Tensor]:
        """Count a frame that shows some slots.

        Args:
            slots: (n,), their numbers.

        Returns:
            Their ``classes``, ``scores``, ``ids`` and ``periods``, the frames so far that showed
            the identity; each of length n.
        """
        shown = torch.zeros_like(self._periods)
        shown[slots] = 1
        self._periods = self._periods + shown
        return {
            "classes": self._classes[slots],
            "scores": self._shown_scores()[slots],
            "ids": self._ids[slots],
            "periods": self._periods[slots],
        }

    def ids_alive(self) -> list[int]:
        """Identities that are visible or can become so again, in ascending order."""
        return [] if self._ids is None else sorted(self._ids[self._is_alive()].tolist())

    def state_dict(self) -> dict[str, int | torch.Tensor | None]:
        """The state, of a size that does not depend on the length of the stream."""
        return {
            "next_id": self._next_id,
            "scores": self._scores,
            "classes": self._classes,
            "visible": self._visible,
            "ids": self._ids,
            "periods": self._periods,
            "hidden": self._hidden,
        }

    def load_state_dict(self, state: dict[str, int | torch.Tensor | None]) -> None:
        """Go on from a state that :meth:`state_dict` gave."""
        self._next_id = state["next_id"]
        self._scores = state["scores"]
        self._classes = state["classes"]
        self._visible = state["visible"]
        self._ids = state["ids"]
        self._periods = state["periods"]
        self._hidden = state["hidden"]

    def _shown_scores(self) -> torch.Tensor:
        """(N,), the smoothed score of each slot's shown class."""
        return self._scores.gather(1, self._classes[:, None])[:, 0]

    def _is_alive(self) -> torch.Tensor:
        """(N,), bool: the slot's identity is not lost for good."""
        return (self._ids > 0) & (self._hidden <= self.max_lost)
