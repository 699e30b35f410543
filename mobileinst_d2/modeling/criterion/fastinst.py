"""Losses of FastInst (section 3.5) and of a light Mask2Former."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from torch import nn

from ..losses import mask_bce_loss, smooth_dice_loss
from ..matcher import PointMatcher
from ..points import sample_points, uncertain_points
from ..targets import FrameTargets
from .set_criterion import Assignment, shares_of_batch

__all__ = ["FastInstCriterion", "PixelProposals", "QueryOutputs"]


class QueryOutputs(NamedTuple):
    """Predictions of one set of N queries per image.

    Attributes:
        class_logits: (B, N, K + 1), for a softmax; the last class is "no object".
        mask_logits: (B, N, h, w).
    """

    class_logits: torch.Tensor
    mask_logits: torch.Tensor


class PixelProposals(NamedTuple):
    """What queries were taken from: the pixels of a map of (h, w).

    Attributes:
        logits: (B, K + 1, h, w), as in :class:`QueryOutputs`.
        pixels: (B, N) int64, where the queries were taken, row by row.
        inside: (B, h, w), 1 where pixels count in the loss and 0 where not; None = all do.
    """

    logits: torch.Tensor
    pixels: torch.Tensor
    inside: torch.Tensor | None = None


class FastInstCriterion(nn.Module):
    """Class, mask and dice losses of every head, and the class loss of the pixels for queries."""

    @configurable
    def __init__(
        self,
        *,
        num_classes: int,
        class_weight: float = 2.0,
        mask_weight: float = 5.0,
        dice_weight: float = 5.0,
        proposal_weight: float = 20.0,
        no_object_weight: float = 0.1,
        location_cost: float = 1000.0,
        num_points: int = 12544,
    ) -> None:
        """Build the criterion.

        Args:
            num_classes: number of classes K.
            class_weight: weight of the classes, in matching and loss.
            mask_weight: weight of the binary cross-entropy of masks, likewise.
            dice_weight: weight of the smooth dice, likewise.
            proposal_weight: weight of the class loss of pixels.
            no_object_weight: weight of a query without an object in the class loss.
            location_cost: see :class:`PointMatcher`.
            num_points: points at which masks are compared, in matching and loss.
        """
        super().__init__()
        self.num_classes = num_classes
        self.class_weight = class_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight
        self.proposal_weight = proposal_weight
        self.num_points = num_points
        self.matcher = PointMatcher(
            class_cost=class_weight,
            mask_cost=mask_weight,
            dice_cost=dice_weight,
            location_cost=location_cost,
            num_points=num_points,
        )
        weights = torch.ones(num_classes + 1)
        weights[-1] = no_object_weight
        self.register_buffer("class_weights", weights, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from ``cfg.MODEL.FASTINST``."""
        node = cfg.MODEL.FASTINST.LOSS
        return {
            "num_classes": cfg.MODEL.NUM_CLASSES,
            "class_weight": node.CLASS_WEIGHT,
            "mask_weight": node.MASK_WEIGHT,
            "dice_weight": node.DICE_WEIGHT,
            "proposal_weight": node.PROPOSAL_WEIGHT,
            "no_object_weight": node.NO_OBJECT_WEIGHT,
            "location_cost": node.LOCATION_COST,
            "num_points": node.NUM_POINTS,
        }

    def match(
        self,
        outputs: QueryOutputs,
        targets: list[FrameTargets],
        proposals: PixelProposals | None = None,
    ) -> Assignment:
        """Assign the queries of a head to the objects.

        Args:
            outputs: of the head.
            targets: the objects of each image, with masks of the size of the padded input.
            proposals: where the queries come from, if they were taken from pixels.

        Returns:
            Per image the numbers of queries and of objects.
        """
        locations = None
        if proposals is not None:
            locations = pixel_locations(proposals.pixels, proposals.logits.shape[-2:])
        return self.matcher(outputs.class_logits, outputs.mask_logits, targets, locations)

    def forward(
        self,
        guided: Sequence[QueryOutputs],
        predictions: Sequence[QueryOutputs],
        last_match: Assignment,
        targets: list[FrameTargets],
        proposals: PixelProposals | None = None,
    ) -> dict[str, torch.Tensor]:
        """Compute the weighted losses.

        Args:
            guided: of the passes that ground truth guided; none for none.
            predictions: of the heads in order.
            last_match: the assignment of the last of them, which also holds for ``guided``.
            targets: see :meth:`match`.
            proposals: see :meth:`match`.

        Returns:
            Weighted scalars with the names of the public code: ``loss_ce_i``, ``loss_mask_i``
            and ``loss_dice_i``, i counting ``guided`` and then ``predictions``, the last of which
            has no number; ``loss_proposal`` if there are proposals. With several processes, their
            average is the loss of the whole batch.
        """
        *earlier, last = predictions
        sets = [(x, last_match) for x in guided]
        sets += [(x, self.match(x, targets, proposals)) for x in earlier]
        sets.append((last, last_match))
        names = [f"_{i}" for i in range(len(sets) - 1)] + [""]
        # Sums over points leave the range of half precision.
        with torch.autocast(last.mask_logits.device.type, enabled=False):
            wanted = self._wanted_classes(last.class_logits, targets, last_match)
            num_objects, class_sum = shares_of_batch(
                (
                    sum(len(target.labels) for target in targets),
                    # The same for all sets: they match as many queries.
                    self.class_weights[wanted].sum().item(),
                ),
                wanted.device,
            )
            losses = {}
            for name, (outputs, match) in zip(names, sets, strict=True):
                wanted = self._wanted_classes(outputs.class_logits, targets, match)
                losses[f"loss_ce{name}"] = self._class_loss(
                    outputs.class_logits.float(), wanted, class_sum
                )
                losses[f"loss_mask{name}"], losses[f"loss_dice{name}"] = self._mask_losses(
                    outputs.mask_logits.float(), targets, match, num_objects
                )
            if proposals is not None:
                losses["loss_proposal"] = self._proposal_loss(proposals, targets)
        return losses

    def _wanted_classes(
        self, class_logits: torch.Tensor, targets: list[FrameTargets], match: Assignment
    ) -> torch.Tensor:
        """(B, N) int64, of the matched objects, else "no object"."""
        wanted = torch.full(
            class_logits.shape[:2], self.num_classes, dtype=torch.int64, device=class_logits.device
        )
        for row, target, (queries, objects) in zip(wanted, targets, match, strict=True):
            row[queries] = target.labels[objects]
        return wanted

    def _class_loss(
        self, class_logits: torch.Tensor, wanted: torch.Tensor, class_sum: float
    ) -> torch.Tensor:
        loss = F.cross_entropy(
            class_logits.flatten(0, 1), wanted.flatten(), self.class_weights, reduction="sum"
        )
        return self.class_weight * loss / class_sum

    def _mask_losses(
        self,
        mask_logits: torch.Tensor,
        targets: list[FrameTargets],
        match: Assignment,
        num_objects: float,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cross-entropy and dice of the matched pairs, each at points of its own."""
        logits = torch.cat([x[q] for x, (q, _) in zip(mask_logits, match, strict=True)])
        masks = torch.cat([t.masks[o] for t, (_, o) in zip(targets, match, strict=True)])
        if len(logits) == 0:
            # Diverged outputs show even where nothing is matched with them: 0 * NaN is NaN.
            nothing = mask_logits.flatten()[:1].sum() * 0.0
            return nothing, nothing
        points = uncertain_points(logits, self.num_points)
        values = sample_points(logits[:, None], points)[:, 0]
        with torch.no_grad():
            wanted = sample_points(masks[:, None], points)[:, 0]
        return (
            self.mask_weight * mask_bce_loss(values, wanted, num_objects),
            self.dice_weight * smooth_dice_loss(values, wanted, num_objects),
        )

    def _proposal_loss(
        self, proposals: PixelProposals, targets: list[FrameTargets]
    ) -> torch.Tensor:
        """Cross-entropy of pixels: one per object has its class, all others have none."""
        logits, inside = proposals.logits.float(), proposals.inside
        match = self.matcher.match_pixels(logits, targets)
        wanted = self._wanted_classes(logits.flatten(2).transpose(1, 2), targets, match)
        losses = F.cross_entropy(logits.flatten(2), wanted, reduction="none")  # b, pixels
        weights = torch.ones_like(losses) if inside is None else inside.flatten(1).to(losses)
        (num_pixels,) = shares_of_batch((weights.sum().item(),), losses.device)
        return self.proposal_weight * (losses * weights).sum() / num_pixels


def pixel_locations(pixels: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Where pixels are, as the public code has it: from 0 at the first to 1 at the last.

    Args:
        pixels: (B, N) int64, row by row.
        size: (h, w) of the map.

    Returns:
        (B, N, 2), x and y.
    """
    rows, columns = (torch.linspace(0, 1, length, device=pixels.device) for length in size)
    return torch.stack((columns[pixels % size[1]], rows[pixels // size[1]]), dim=2)
