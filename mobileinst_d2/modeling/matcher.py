"""One-to-one assignment of queries to objects."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import nn

from .losses import pairwise_bce, pairwise_dice, pairwise_smooth_dice
from .points import sample_points
from .targets import FrameTargets

__all__ = ["HungarianMatcher", "PointMatcher", "assign"]

Match = tuple[torch.Tensor, torch.Tensor]


def assign(scores: Sequence[torch.Tensor]) -> list[Match]:
    """One-to-one assignments with the largest sums of scores, for all images of a batch.

    A GPU is waited for once for all of them.

    Args:
        scores: per image (N, M); what is no number counts as 0: a diverged network still gets an
            assignment, and the loss then names what diverged.

    Returns:
        Per image two int64 tensors of length min(N, M): rows and columns.
    """
    if not scores:
        return []
    device = scores[0].device
    values = torch.cat([score.flatten() for score in scores]).nan_to_num(0.0).cpu()
    parts = values.split([score.numel() for score in scores])
    pairs = [
        np.stack(linear_sum_assignment(part.view(score.shape).numpy(), maximize=True))
        for part, score in zip(parts, scores, strict=True)
    ]
    found = torch.from_numpy(np.concatenate(pairs, axis=1)).to(device, torch.int64)
    return [(x[0], x[1]) for x in found.split([pair.shape[1] for pair in pairs], dim=1)]


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
    ) -> list[Match]:
        """Match each image.

        Args:
            class_logits: (B, N, K).
            mask_logits: (B, N, h, w).
            targets: the objects of each image.

        Returns:
            Per image two int64 tensors of length min(N, M): query numbers and object numbers.
        """
        # Powers and sums of squares leave the range of half precision.
        with torch.autocast(mask_logits.device.type, enabled=False):
            return assign(
                [
                    self._score(classes.float(), masks.float(), target)
                    for classes, masks, target in zip(
                        class_logits, mask_logits, targets, strict=True
                    )
                ]
            )

    def _score(
        self, class_logits: torch.Tensor, mask_logits: torch.Tensor, target: FrameTargets
    ) -> torch.Tensor:
        if len(target.labels) == 0:
            return mask_logits.new_zeros(len(mask_logits), 0)
        dice = pairwise_dice(mask_logits.flatten(1).sigmoid(), target.masks.flatten(1))
        class_prob = class_logits.sigmoid()[:, target.labels]
        return dice**self.mask_power * class_prob**self.class_power  # n, m


class PointMatcher(nn.Module):
    """Minimises costs of class, mask and place per image, masks compared at points (FastInst).

    ``class_cost * -p + mask_cost * bce + dice_cost * (1 - dice) + location_cost * -inside``.
    """

    def __init__(
        self,
        *,
        class_cost: float = 2.0,
        mask_cost: float = 5.0,
        dice_cost: float = 5.0,
        location_cost: float = 1000.0,
        num_points: int = 12544,
    ) -> None:
        """Build the matcher.

        Args:
            class_cost: weight of the probability of the object's class.
            mask_cost: weight of the binary cross-entropy.
            dice_cost: weight of the smooth dice.
            location_cost: weight of whether a query was taken from inside the object.
            num_points: random points at which the masks of an image are compared.
        """
        super().__init__()
        self.class_cost = class_cost
        self.mask_cost = mask_cost
        self.dice_cost = dice_cost
        self.location_cost = location_cost
        self.num_points = num_points

    @torch.no_grad()
    def forward(
        self,
        class_logits: torch.Tensor,
        mask_logits: torch.Tensor,
        targets: list[FrameTargets],
        locations: torch.Tensor | None = None,
    ) -> list[Match]:
        """Match each image.

        Args:
            class_logits: (B, N, K + 1), for a softmax; the last class is "no object".
            mask_logits: (B, N, h, w).
            targets: the objects of each image, with masks of the size of the padded input.
            locations: (B, N, 2), x and y in [0, 1] where the queries were taken from; None =
                from nowhere.

        Returns:
            See :class:`HungarianMatcher`.
        """
        # Sums over points leave the range of half precision.
        with torch.autocast(mask_logits.device.type, enabled=False):
            return assign(
                [
                    self._score(
                        class_logits[i].float(),
                        mask_logits[i].float(),
                        target,
                        None if locations is None else locations[i],
                    )
                    for i, target in enumerate(targets)
                ]
            )

    @torch.no_grad()
    def match_pixels(self, logits: torch.Tensor, targets: list[FrameTargets]) -> list[Match]:
        """Give each object one pixel, inside of it where that is possible.

        Args:
            logits: (B, K + 1, h, w), for a softmax; the last class is "no object".
            targets: see :meth:`forward`.

        Returns:
            Per image the numbers of pixels, row by row, and of objects.
        """
        scores = []
        for values, target in zip(logits.float(), targets, strict=True):
            if len(target.labels) == 0:
                scores.append(values.new_zeros(values[0].numel(), 0))
                continue
            probs = values.flatten(1).softmax(0)[target.labels]
            inside = F.adaptive_avg_pool2d(target.masks, values.shape[-2:]).flatten(1) > 0
            score = self.class_cost * probs + self.location_cost * inside
            scores.append(score.T)
        return assign(scores)

    def _score(
        self,
        class_logits: torch.Tensor,
        mask_logits: torch.Tensor,
        target: FrameTargets,
        locations: torch.Tensor | None,
    ) -> torch.Tensor:
        if len(target.labels) == 0:
            return mask_logits.new_zeros(len(mask_logits), 0)
        points = torch.rand(1, self.num_points, 2, device=mask_logits.device)
        logits = sample_points(mask_logits[None], points)[0]
        masks = sample_points(target.masks[None], points)[0]
        probs = class_logits.softmax(1)[:, target.labels]
        cost = self.mask_cost * pairwise_bce(logits, masks) - self.class_cost * probs
        cost = cost + self.dice_cost * (1 - pairwise_smooth_dice(logits.sigmoid(), masks))
        if locations is not None:
            inside = sample_points(target.masks[None], locations[None])[0].T > 0
            cost = cost - self.location_cost * inside
        return -cost
