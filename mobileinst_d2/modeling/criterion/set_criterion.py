"""Losses of queries that are matched one to one with objects."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.utils import comm
from torch import nn

from ..layers import bilinear_resize
from ..losses import dice_loss, focal_loss, mask_bce_loss, paired_iou
from ..targets import FrameTargets

__all__ = [
    "Assignment",
    "SetCriterion",
    "count_for_loss",
    "gather_masks",
    "normalizers",
    "shares_of_batch",
]

Assignment = list[tuple[torch.Tensor, torch.Tensor]]


class SetCriterion(nn.Module):
    """Focal, dice, pixel-wise and objectness losses of matched queries, as SparseInst has them."""

    def __init__(
        self,
        *,
        matcher: nn.Module,
        class_weight: float = 2.0,
        dice_weight: float = 2.0,
        mask_weight: float = 2.0,
        objectness_weight: float = 1.0,
        focal_alpha: float = 0.25,
        focal_gamma: float = 2.0,
        objectness_mask_threshold: float = 0.4,
    ) -> None:
        """Build the criterion.

        Args:
            matcher: assigns queries to objects.
            class_weight: weight of ``loss_cls``.
            dice_weight: weight of ``loss_dice``.
            mask_weight: weight of ``loss_mask``.
            objectness_weight: weight of ``loss_obj``.
            focal_alpha: weight of positives in the focal loss; negatives get 1 - alpha.
            focal_gamma: exponent of the focal loss that turns down easy examples.
            objectness_mask_threshold: mask probability that counts in the objectness target.
        """
        super().__init__()
        self.matcher = matcher
        self.class_weight = class_weight
        self.dice_weight = dice_weight
        self.mask_weight = mask_weight
        self.objectness_weight = objectness_weight
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.objectness_mask_threshold = objectness_mask_threshold

    def forward(
        self, outputs: dict[str, torch.Tensor], targets: list[FrameTargets]
    ) -> dict[str, torch.Tensor]:
        """Compute the weighted losses.

        Args:
            outputs: ``class_logits`` (B, N, K), ``objectness_logits`` (B, N), ``mask_logits``
                (B, N, h, w), which are upsampled bilinearly to the size of the targets' masks.
            targets: the objects of each of the B frames.

        Returns:
            Weighted scalars ``loss_cls`` (sum over B, N, K, over the number of objects in the
            batch), ``loss_dice`` (sum over matches, over the same number), ``loss_mask`` (mean
            over matches and pixels), ``loss_obj`` (mean over matches). Zero, with a gradient path
            to every output, where nothing matches. With several processes, their average is the
            loss of the whole batch.
        """
        return self.matched_losses(outputs, targets)[0]

    def matched_losses(
        self, outputs: dict[str, torch.Tensor], targets: list[FrameTargets]
    ) -> tuple[dict[str, torch.Tensor], Assignment]:
        """The losses, see :meth:`forward`, and the assignment that they are of."""
        # Sums over masks leave the range of half precision.
        with torch.autocast(outputs["mask_logits"].device.type, enabled=False):
            class_logits = outputs["class_logits"].float()
            mask_logits = outputs["mask_logits"].float()
            objectness_logits = outputs["objectness_logits"].float()
            matches = self.match(class_logits, mask_logits, targets)
            logits, wanted = gather_masks(mask_logits, targets, matches)
            num_objects, num_matches = self.normalizers(targets, logits)

            losses = {"loss_cls": self._class_loss(class_logits, targets, matches, num_objects)}
            losses["loss_dice"], losses["loss_mask"] = self.mask_losses(
                logits, wanted, num_objects, num_matches
            )
            losses["loss_obj"] = self._objectness_loss(
                objectness_logits, logits, wanted, matches, num_matches
            )
            # Diverged outputs show even where nothing is matched with them: 0 * NaN is NaN.
            anchor = sum(x.flatten()[:1].sum() for x in outputs.values()) * 0.0
            losses["loss_cls"] = losses["loss_cls"] + anchor
        return losses, matches

    def match(
        self, class_logits: torch.Tensor, mask_logits: torch.Tensor, targets: list[FrameTargets]
    ) -> Assignment:
        """Assign queries to objects; logits as in :meth:`forward`."""
        return self.matcher(class_logits, _upsample(mask_logits.detach(), targets), targets)

    def normalizers(self, targets: list[FrameTargets], logits: torch.Tensor) -> list[float]:
        """What sums over objects and over matches are divided by, see :func:`normalizers`."""
        return normalizers(targets, logits)

    def mask_losses(
        self, logits: torch.Tensor, wanted: torch.Tensor, num_objects: float, num_matches: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted dice and pixel-wise loss of matched pairs (M, P)."""
        return (
            self.dice_weight * dice_loss(logits, wanted, num_objects),
            self.mask_weight * mask_bce_loss(logits, wanted, num_matches),
        )

    def _class_loss(
        self,
        class_logits: torch.Tensor,
        targets: list[FrameTargets],
        matches: Assignment,
        num_objects: float,
    ) -> torch.Tensor:
        wanted = torch.zeros_like(class_logits)
        one = wanted.new_ones(())  # a number of Python's would be sent to a GPU for each image
        for image, (target, (queries, objects)) in enumerate(zip(targets, matches, strict=True)):
            wanted[image, queries, target.labels[objects]] = one
        loss = focal_loss(
            class_logits, wanted, num_objects, alpha=self.focal_alpha, gamma=self.focal_gamma
        )
        return self.class_weight * loss

    def _objectness_loss(
        self,
        objectness_logits: torch.Tensor,
        mask_logits: torch.Tensor,
        wanted: torch.Tensor,
        matches: Assignment,
        num_matches: float,
    ) -> torch.Tensor:
        """Cross-entropy of the objectness of matched queries with the IoU of their masks."""
        logits = torch.cat([x[q] for x, (q, _) in zip(objectness_logits, matches, strict=True)])
        iou = paired_iou(mask_logits.sigmoid(), wanted, self.objectness_mask_threshold)
        loss = F.binary_cross_entropy_with_logits(logits, iou, reduction="sum")
        return self.objectness_weight * loss / num_matches


def normalizers(targets: list[FrameTargets], logits: torch.Tensor) -> list[float]:
    """Numbers of objects and of matched pairs (M, P) of the whole batch, per process.

    The gradients of the processes are averaged. Divided by these shares, they are the same for any
    number of processes that the batch is spread over.
    """
    num_objects = sum(len(target.labels) for target in targets)
    return shares_of_batch((num_objects, len(logits)), logits.device)


def count_for_loss(name: str, num_objects: Sequence[int], num_queries: int) -> int:
    """What a loss is divided by, before the batch is run: objects, or matches where it is a mean.

    Args:
        name: of a loss of :class:`SetCriterion`.
        num_objects: per frame, those that can be matched.
        num_queries: of a frame, which has no more matches.
    """
    if name.endswith(("_mask", "_obj")):
        return sum(min(count, num_queries) for count in num_objects)
    return sum(num_objects)


def shares_of_batch(counts: Sequence[float], device: torch.device) -> list[float]:
    """Counts of the whole batch, at least 1, over the number of processes.

    Args:
        counts: of this process.
        device: where the processes exchange them.
    """
    world_size = comm.get_world_size()
    if world_size == 1:
        return [float(max(count, 1)) for count in counts]  # without waiting for a GPU
    counts = torch.tensor(counts, dtype=torch.float32, device=device)
    torch.distributed.all_reduce(counts)
    return (counts.clamp(min=1) / world_size).tolist()


def gather_masks(
    mask_logits: torch.Tensor, targets: list[FrameTargets], matches: Assignment
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and targets of the M matched pairs of the batch, both (M, P).

    Only these are upsampled with a gradient to the size of the targets.
    """
    logits = torch.cat([x[q] for x, (q, _) in zip(mask_logits, matches, strict=True)])
    wanted = [t.masks[o].flatten(1) for t, (_, o) in zip(targets, matches, strict=True)]
    return _upsample(logits[None], targets)[0].flatten(1), torch.cat(wanted)


def _upsample(mask_logits: torch.Tensor, targets: list[FrameTargets]) -> torch.Tensor:
    """(B, N, h, w) to the size of the targets' masks."""
    size = targets[0].masks.shape[-2:]
    if mask_logits.shape[-2:] == size:
        return mask_logits
    if mask_logits.shape[1] == 0:
        # As nothing can be resized, a sum that keeps the path of the gradient.
        return mask_logits.new_zeros(len(mask_logits), 0, *size) + mask_logits.sum()
    return bilinear_resize(mask_logits, tuple(size))
