"""Losses of MobileInst (paper, sections 3.5 and 3.6)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.utils import comm
from torch import nn

from .losses import dice_loss, focal_loss, mask_bce_loss, paired_iou
from .matcher import HungarianMatcher
from .options import check_option
from .targets import FrameTargets

__all__ = ["MobileInstCriterion", "PassedOutputs"]

Assignment = list[tuple[torch.Tensor, torch.Tensor]]


class PassedOutputs(NamedTuple):
    """Predictions of frames from the queries of other frames, P pairs.

    Attributes:
        class_logits: (P, N, K).
        mask_logits: (P, N, h, w).
        sources: batch index of the frame that each pair's queries come from.
        frames: batch index of the frame that each pair predicts.
    """

    class_logits: torch.Tensor
    mask_logits: torch.Tensor
    sources: list[int]
    frames: list[int]


class MobileInstCriterion(nn.Module):
    """Focal, dice, pixel-wise and objectness losses of matched queries, and of passed queries."""

    @configurable
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
        passing_match: str = "shared",
        passing_weight: float = 1.0,
    ) -> None:
        """Build the criterion.

        Args:
            matcher: assigns queries to objects.
            class_weight: weight of ``loss_cls``, lambda_c.
            dice_weight: weight of ``loss_dice``, lambda_mask.
            mask_weight: weight of ``loss_mask``, lambda_mask.
            objectness_weight: weight of ``loss_obj``, lambda_obj.
            focal_alpha: alpha of the focal loss.
            focal_gamma: gamma of the focal loss.
            objectness_mask_threshold: mask probability that counts in the objectness target.
            passing_match: "shared", "identity" or "own", see
                ``MODEL.MOBILEINST.QUERY_PASSING.MATCH``.
            passing_weight: factor on the mask losses of passed queries.

        Raises:
            ValueError: if ``passing_match`` is unknown.
        """
        super().__init__()
        check_option(
            "MODEL.MOBILEINST.QUERY_PASSING.MATCH", passing_match, ("shared", "identity", "own")
        )
        self.matcher = matcher
        self.class_weight = class_weight
        self.dice_weight = dice_weight
        self.mask_weight = mask_weight
        self.objectness_weight = objectness_weight
        self.focal_alpha = focal_alpha
        self.focal_gamma = focal_gamma
        self.objectness_mask_threshold = objectness_mask_threshold
        self.passing_match = passing_match
        self.passing_weight = passing_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Keyword arguments from ``cfg.MODEL.CRITERION`` and ``cfg.MODEL.MOBILEINST``."""
        node = cfg.MODEL.CRITERION
        passing = cfg.MODEL.MOBILEINST.QUERY_PASSING
        return {
            "matcher": HungarianMatcher(cfg),
            "class_weight": node.CLASS_WEIGHT,
            "dice_weight": node.DICE_WEIGHT,
            "mask_weight": node.MASK_WEIGHT,
            "objectness_weight": node.OBJECTNESS_WEIGHT,
            "focal_alpha": node.FOCAL_ALPHA,
            "focal_gamma": node.FOCAL_GAMMA,
            "objectness_mask_threshold": node.OBJECTNESS_MASK_THRESHOLD,
            "passing_match": passing.MATCH,
            "passing_weight": passing.WEIGHT,
        }

    def forward(
        self,
        outputs: dict[str, torch.Tensor],
        targets: list[FrameTargets],
        passed: PassedOutputs | None = None,
    ) -> dict[str, torch.Tensor]:
        """Compute the weighted losses.

        Args:
            outputs: ``class_logits`` (B, N, K), ``objectness_logits`` (B, N), ``mask_logits``
                (B, N, h, w).
            targets: the objects of each of the B frames.
            passed: predictions of passed queries, if the batch has clips.

        Returns:
            Weighted scalars ``loss_cls`` (sum over B, N, K, over the number of objects in the
            batch), ``loss_dice`` (sum over matches, over the same number), ``loss_mask`` (mean
            over matches and pixels), ``loss_obj`` (mean over matches); with ``passed`` also
            ``loss_passed_dice`` and ``loss_passed_mask``. Zero, with a gradient path to every
            output, where nothing matches. With several processes, their average is the loss of
            the whole batch.
        """
        # Sums over masks leave the range of half precision.
        with torch.autocast(outputs["mask_logits"].device.type, enabled=False):
            class_logits = outputs["class_logits"].float()
            mask_logits = outputs["mask_logits"].float()
            objectness_logits = outputs["objectness_logits"].float()
            matches = self.matcher(class_logits, mask_logits, targets)
            logits, wanted = _gather_masks(mask_logits, targets, matches)
            num_objects, num_matches = _normalizers(targets, logits)

            losses = {"loss_cls": self._class_loss(class_logits, targets, matches, num_objects)}
            losses["loss_dice"], losses["loss_mask"] = self._mask_losses(
                logits, wanted, num_objects, num_matches
            )
            losses["loss_obj"] = self._objectness_loss(
                objectness_logits, logits, wanted, matches, num_matches
            )
            if passed is not None:
                losses.update(self._passed_losses(passed, targets, matches))
            # Diverged outputs show even where nothing is matched with them: 0 * NaN is NaN.
            anchor = sum(x.flatten()[:1].sum() for x in outputs.values()) * 0.0
            losses["loss_cls"] = losses["loss_cls"] + anchor
        return losses

    def _class_loss(
        self,
        class_logits: torch.Tensor,
        targets: list[FrameTargets],
        matches: Assignment,
        num_objects: float,
    ) -> torch.Tensor:
        wanted = torch.zeros_like(class_logits)
        for image, (target, (queries, objects)) in enumerate(zip(targets, matches, strict=True)):
            wanted[image, queries, target.labels[objects]] = 1.0
        loss = focal_loss(
            class_logits, wanted, num_objects, alpha=self.focal_alpha, gamma=self.focal_gamma
        )
        return self.class_weight * loss

    def _mask_losses(
        self, logits: torch.Tensor, wanted: torch.Tensor, num_objects: float, num_matches: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Weighted dice and pixel-wise loss of matched pairs (M, P)."""
        return (
            self.dice_weight * dice_loss(logits, wanted, num_objects),
            self.mask_weight * mask_bce_loss(logits, wanted, num_matches),
        )

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

    def _passed_losses(
        self, passed: PassedOutputs, targets: list[FrameTargets], matches: Assignment
    ) -> dict[str, torch.Tensor]:
        """Mask losses of passed queries; no class and no objectness loss."""
        mask_logits = passed.mask_logits.float()
        frame_targets = [targets[i] for i in passed.frames]
        if self.passing_match == "shared":
            passed_matches = [matches[i] for i in passed.frames]
        elif self.passing_match == "own":
            passed_matches = self.matcher(passed.class_logits, mask_logits, frame_targets)
        else:
            passed_matches = [
                _follow_identity(matches[source], targets[source], targets[frame])
                for source, frame in zip(passed.sources, passed.frames, strict=True)
            ]
        logits, wanted = _gather_masks(mask_logits, frame_targets, passed_matches)
        dice, mask = self._mask_losses(logits, wanted, *_normalizers(frame_targets, logits))
        return {
            "loss_passed_dice": self.passing_weight * dice,
            "loss_passed_mask": self.passing_weight * mask,
        }


def _normalizers(targets: list[FrameTargets], logits: torch.Tensor) -> list[float]:
    """Numbers of objects and of matched pairs (M, P) of the whole batch, per process.

    The gradients of the processes are averaged. Divided by these shares, they are the same for any
    number of processes that the batch is spread over.
    """
    num_objects = sum(len(target.labels) for target in targets)
    counts = torch.tensor([num_objects, len(logits)], dtype=torch.float32, device=logits.device)
    world_size = comm.get_world_size()
    if world_size > 1:
        torch.distributed.all_reduce(counts)
    return (counts.clamp(min=1) / world_size).tolist()


def _gather_masks(
    mask_logits: torch.Tensor, targets: list[FrameTargets], matches: Assignment
) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and targets of the M matched pairs of the batch, both (M, P)."""
    logits = [x[q].flatten(1) for x, (q, _) in zip(mask_logits, matches, strict=True)]
    wanted = [t.masks[o].flatten(1) for t, (_, o) in zip(targets, matches, strict=True)]
    return torch.cat(logits), torch.cat(wanted)


def _follow_identity(
    match: tuple[torch.Tensor, torch.Tensor], source: FrameTargets, frame: FrameTargets
) -> tuple[torch.Tensor, torch.Tensor]:
    """The source frame's assignment, as far as its objects are visible in the other frame."""
    queries, objects = match
    same = source.rows[objects][:, None] == frame.rows  # matched, visible in frame
    kept, found = same.nonzero(as_tuple=True)
    return queries[kept], found
