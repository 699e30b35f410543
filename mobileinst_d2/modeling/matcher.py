"""One-to-one assignment of queries to objects."""

import torch
from scipy.optimize import linear_sum_assignment
from torch import nn

from .losses import pairwise_dice
from .targets import FrameTargets

__all__ = ["HungarianMatcher"]


class HungarianMatcher(nn.Module):
    """Maximises ``dice^mask_power * class_probability^class_power`` per image (SparseInst, eq. 3).

    The paper takes SparseInst's matching (section 3.6).
    """

    def __init__(self, *, mask_power: float = 0.8, class_power: float = 0.2) -> None:
        """Build the matcher.

        Args:
            mask_power: exponent of the dice coefficient.
            class_power: exponent of the probability of the object's class.
        """
        super().__init__()
        self.mask_power = mask_power
        self.class_power = class_power

    @torch.no_grad()
    def forward(
        self,
        class_logits: torch.Tensor,
        mask_logits: torch.Tensor,
        targets: list[FrameTargets],
    ) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Match each image.

        Args:
            class_logits: (B, N, K).
            mask_logits: (B, N, h, w).
            targets: the objects of each image.

        Returns:
            Per image two int64 tensors of length min(N, M): query numbers and object numbers.
        """
        return [
            self._match(classes, masks, target)
            for classes, masks, target in zip(class_logits, mask_logits, targets, strict=True)
        ]

    def _match(
        self, class_logits: torch.Tensor, mask_logits: torch.Tensor, target: FrameTargets
    ) -> tuple[torch.Tensor, torch.Tensor]:
        device = mask_logits.device
        if len(target.labels) == 0:
            empty = torch.zeros(0, dtype=torch.int64, device=device)
            return empty, empty
        # Powers and sums of squares leave the range of half precision.
        with torch.autocast(device.type, enabled=False):
            dice = pairwise_dice(mask_logits.float().flatten(1).sigmoid(), target.masks.flatten(1))
            class_prob = class_logits.float().sigmoid()[:, target.labels]
            score = dice**self.mask_power * class_prob**self.class_power  # n, m
        # A diverged network still gets an assignment: the loss then names what diverged.
        score = score.nan_to_num(0.0)
        queries, objects = linear_sum_assignment(score.cpu().numpy(), maximize=True)
        return (
            torch.as_tensor(queries, dtype=torch.int64, device=device),
            torch.as_tensor(objects, dtype=torch.int64, device=device),
        )
