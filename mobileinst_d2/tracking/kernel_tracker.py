"""Association of key frames: which query continues which slot."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from scipy.optimize import linear_sum_assignment

from ..modeling.options import check_option

__all__ = ["TRACKING_MODES", "KernelTracker", "SlotView"]

TRACKING_MODES = ("prev", "ema", "bank")


class SlotView(NamedTuple):
    """A key frame's predictions in the order of the slots.

    Attributes:
        kernels: (N, D), row s continues slot s.
        scores: (N, K), likewise.
        order: (N,), int64; slot s is query ``order[s]`` of the key frame.
    """

    kernels: torch.Tensor
    scores: torch.Tensor
    order: torch.Tensor


class KernelTracker:
    """One-to-one association of key frames with the slots of a video by cosine similarity.

    A pure state machine: no network, no images. Every query is a slot for the whole video, without
    births, deaths or gates. What a key frame is compared with, the reference of each slot, is

    - "prev": the slot's embedding in the key frame before (paper, section 3.5, following MinVIS).
      When an object leaves, some query without an object takes its slot and its reference.
    - "ema": ``(1 - m) * reference + m * current`` over the key frames in which the slot's best
      score reaches a threshold; the first of them sets it.
    - "bank": the mean of the slot's last L embeddings with such scores. The j-th of n, counted
      from the oldest, has the weight score + j / n.

    In "ema" and "bank" the reference of an object that is out of sight stays as it was, and
    embeddings are averaged by direction, which is all that a cosine compares.
    """

    @configurable
    def __init__(
        self,
        *,
        mode: str = "prev",
        ema_momentum: float = 0.3,
        bank_size: int = 3,
        update_threshold: float = 0.4,
    ) -> None:
        """Start without a video.

        Args:
            mode: "prev", "ema" or "bank".
            ema_momentum: m, weight of the current key frame, in (0, 1].
            bank_size: L, embeddings kept per slot.
            update_threshold: best score from which a key frame changes the reference of "ema" and
                "bank", in [0, 1].

        Raises:
            ValueError: if an option is unknown or out of range.
        """
        check_option("TEST.TRACKING.MODE", mode, TRACKING_MODES)
        if not 0 < ema_momentum <= 1:
            raise ValueError(f"TEST.TRACKING.EMA_MOMENTUM is {ema_momentum}, it must be in (0, 1]")
        if bank_size < 1:
            raise ValueError(f"TEST.TRACKING.BANK_SIZE is {bank_size}, it must be at least 1")
        if not 0 <= update_threshold <= 1:
            raise ValueError(
                f"TEST.TRACKING.UPDATE_THRESHOLD is {update_threshold}, it must be in [0, 1]"
            )
        self.mode = mode
        self.ema_momentum = ema_momentum
        self.bank_size = bank_size
        self.update_threshold = update_threshold
        self.reset()

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Keyword arguments from ``cfg.TEST.TRACKING``."""
        return {
            "mode": cfg.TEST.TRACKING.MODE,
            "ema_momentum": cfg.TEST.TRACKING.EMA_MOMENTUM,
            "bank_size": cfg.TEST.TRACKING.BANK_SIZE,
            "update_threshold": cfg.TEST.TRACKING.UPDATE_THRESHOLD,
        }

    def reset(self) -> None:
        """Forget everything: the next key frame starts a new video."""
        self._reference: torch.Tensor | None = None  # slots, channels
        self._confident: torch.Tensor | None = None  # slots: bool, "ema": has a score reached it?
        self._bank: torch.Tensor | None = None  # slots, L, channels; the newest last
        self._bank_scores: torch.Tensor | None = None  # slots, L; -1 where there is no entry

    def keyframe(
        self,
        kernels: torch.Tensor,
        scores: torch.Tensor,
        embeddings: torch.Tensor | None = None,
    ) -> SlotView:
        """Associate a new key frame with the slots.

        Args:
            kernels: (N, D).
            scores: (N, K), in [0, 1].
            embeddings: (N, C), compared between key frames; the kernels if None.

        Returns:
            The key frame in slot order. At the first key frame slots are queries.
        """
        embeddings = (kernels if embeddings is None else embeddings).detach().float().cpu()
        order = torch.arange(len(embeddings))
        if self._reference is not None:
            order = self._associate(embeddings)
        index = order.to(kernels.device)
        view = SlotView(kernels[index], scores[index.to(scores.device)], order)
        self._remember(embeddings[order], view.scores)
        return view

    def state_dict(self) -> dict[str, str | torch.Tensor | None]:
        """The state, of a size that does not depend on the length of the video."""
        return {
            "mode": self.mode,
            "reference": self._reference,
            "confident": self._confident,
            "bank": self._bank,
            "bank_scores": self._bank_scores,
        }

    def load_state_dict(self, state: dict[str, str | torch.Tensor | None]) -> None:
        """Go on from the state of another tracker.

        Args:
            state: what :meth:`state_dict` of a tracker with the same options gave.

        Raises:
            ValueError: if the state is that of another mode or size of the bank.
        """
        if state["mode"] != self.mode:
            raise ValueError(
                f"the state is of TEST.TRACKING.MODE {state['mode']!r}, this tracker has "
                f"{self.mode!r}"
            )
        bank = state["bank"]
        if bank is not None and bank.shape[1] != self.bank_size:
            raise ValueError(
                f"the state is of TEST.TRACKING.BANK_SIZE {bank.shape[1]}, this tracker has "
                f"{self.bank_size}"
            )
        self._reference = state["reference"]
        self._confident = state["confident"]
        self._bank = bank
        self._bank_scores = state["bank_scores"]

    def _associate(self, embeddings: torch.Tensor) -> torch.Tensor:
        """For each slot the query that is most like it, one-to-one."""
        # Zero embeddings stay zero, so the similarity is always finite.
        reference = F.normalize(self._reference, dim=1)
        current = F.normalize(embeddings, dim=1)
        similarity = (reference @ current.T).nan_to_num(0.0)  # slots, queries
        _, order = linear_sum_assignment(similarity.numpy(), maximize=True)
        return torch.from_numpy(order).long()

    def _remember(self, embeddings: torch.Tensor, scores: torch.Tensor) -> None:
        """Take up a key frame in slot order; embeddings of a failed frame never enter.

        States handed out before stay as they are: tensors are replaced and not written to.
        """
        valid = embeddings.isfinite().all(dim=1)
        embeddings = torch.where(valid[:, None], embeddings, 0.0)
        if self._reference is None:
            # A slot that no object has taken yet is compared with what its query was at first.
            self._reference = embeddings
            if self.mode == "ema":
                self._confident = torch.zeros_like(valid)
            elif self.mode == "bank":
                count, channels = embeddings.shape
                self._bank = torch.zeros(count, self.bank_size, channels)
                self._bank_scores = torch.full((count, self.bank_size), -1.0)
        if self.mode == "prev":
            self._reference = torch.where(valid[:, None], embeddings, self._reference)
            return
        best = scores.detach().float().cpu().amax(dim=1)
        update = valid & (best >= self.update_threshold)
        embeddings = F.normalize(embeddings, dim=1)
        if self.mode == "ema":
            mixed = torch.lerp(self._reference, embeddings, self.ema_momentum)
            mixed = torch.where(self._confident[:, None], mixed, embeddings)
            self._confident = self._confident | update
        else:
            mixed = self._mix_bank(embeddings, best, update)
        self._reference = torch.where(update[:, None], mixed, self._reference)

    def _mix_bank(
        self, embeddings: torch.Tensor, best: torch.Tensor, update: torch.Tensor
    ) -> torch.Tensor:
        """Put embeddings (N, C) into the bank where they are an update; its weighted means."""
        bank = torch.cat([self._bank[:, 1:], embeddings[:, None]], dim=1)
        bank_scores = torch.cat([self._bank_scores[:, 1:], best[:, None]], dim=1)
        self._bank = torch.where(update[:, None, None], bank, self._bank)
        self._bank_scores = torch.where(update[:, None], bank_scores, self._bank_scores)
        filled = self._bank_scores >= 0
        recency = filled.cumsum(dim=1) / filled.sum(dim=1, keepdim=True).clamp(min=1)
        weights = torch.where(filled, self._bank_scores + recency, 0.0)
        return (weights[..., None] * self._bank).sum(dim=1)
