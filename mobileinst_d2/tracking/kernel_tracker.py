"""Association of key frames: which query continues which slot."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment

__all__ = ["KernelTracker", "SlotView"]


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
    """One-to-one association between consecutive key frames by cosine similarity.

    A pure state machine: no network, no images. Every query is a slot for the whole video; no
    births, deaths or thresholds (paper, section 3.5, following MinVIS).
    """

    def __init__(self) -> None:
        """Start without a video."""
        self._reference: torch.Tensor | None = None

    def reset(self) -> None:
        """Forget everything: the next key frame starts a new video."""
        self._reference = None

    def keyframe(
        self,
        kernels: torch.Tensor,
        scores: torch.Tensor,
        embeddings: torch.Tensor | None = None,
    ) -> SlotView:
        """Associate a new key frame with the one before.

        Args:
            kernels: (N, D).
            scores: (N, K).
            embeddings: (N, C), compared between key frames; the kernels if None.

        Returns:
            The key frame in slot order. At the first key frame slots are queries.
        """
        embeddings = (kernels if embeddings is None else embeddings).detach().float().cpu()
        order = torch.arange(len(embeddings))
        if self._reference is not None:
            order = self._associate(embeddings)
        self._reference = self._latest_valid(embeddings[order])
        index = order.to(kernels.device)
        return SlotView(kernels[index], scores[index.to(scores.device)], order)

    def state_dict(self) -> dict[str, torch.Tensor | None]:
        """The state: one embedding per slot, however long the video is."""
        return {"reference": self._reference}

    def load_state_dict(self, state: dict[str, torch.Tensor | None]) -> None:
        """Go on from the state of another tracker."""
        self._reference = state["reference"]

    def _latest_valid(self, embeddings: torch.Tensor) -> torch.Tensor:
        """The embeddings; those of a failed frame give way to the slot's last ones."""
        if self._reference is None:
            return embeddings
        return torch.where(embeddings.isfinite().all(1, keepdim=True), embeddings, self._reference)

    def _associate(self, embeddings: torch.Tensor) -> torch.Tensor:
        """For each slot the query that is most like it, one-to-one."""
        # Zero embeddings stay zero, so the similarity is always finite.
        reference = F.normalize(self._reference, dim=1)
        current = F.normalize(embeddings, dim=1)
        similarity = (reference @ current.T).nan_to_num(0.0)  # slots, queries
        _, order = linear_sum_assignment(similarity.numpy(), maximize=True)
        return torch.as_tensor(order, dtype=torch.int64)
