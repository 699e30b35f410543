"""Losses of MobileInst (paper, sections 3.5 and 3.6)."""

from typing import Any, NamedTuple

import torch
from detectron2.config import CfgNode, configurable

from mobileinst_core.options import check_option

from ..matcher import HungarianMatcher
from ..targets import FrameTargets
from .set_criterion import Assignment, SetCriterion, gather_masks, normalizers

__all__ = ["MobileInstCriterion", "PassedOutputs"]

_PASSING_MATCHES = ("shared", "identity", "own")


class PassedOutputs(NamedTuple):
    """Predictions of frames from the queries of other frames, P pairs.

    Attributes:
        class_logits: (P, N, K).
        mask_logits: (P, N, h, w), see :class:`SetCriterion`.
        sources: batch index of the frame that each pair's queries come from.
        frames: batch index of the frame that each pair predicts.
    """

    class_logits: torch.Tensor
    mask_logits: torch.Tensor
    sources: list[int]
    frames: list[int]


class MobileInstCriterion(SetCriterion):
    """The losses of matched queries, and mask losses of passed queries."""

    @configurable
    def __init__(
        self, *, passing_match: str = "shared", passing_weight: float = 1.0, **matched: Any
    ) -> None:
        """Build the criterion.

        Args:
            passing_match: which object supervises a passed query: "shared" (the assignment found
                in the target frame), "identity" (the object it matched in the source frame) or
                "own" (a matching of its own).
            passing_weight: factor on the mask losses of passed queries.
            **matched: see :class:`SetCriterion`.

        Raises:
            ValueError: if ``passing_match`` is unknown.
        """
        super().__init__(**matched)
        check_option("passing_match", passing_match, _PASSING_MATCHES)
        self.passing_match = passing_match
        self.passing_weight = passing_weight

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from ``cfg.MODEL.MOBILEINST``."""
        node, passing = cfg.MODEL.MOBILEINST.LOSS, cfg.MODEL.MOBILEINST.QUERY_PASSING
        return {
            "matcher": HungarianMatcher(class_power=node.MATCHER_CLASS_POWER),
            "class_weight": node.CLASS_WEIGHT,
            "dice_weight": node.DICE_WEIGHT,
            "mask_weight": node.MASK_WEIGHT,
            "objectness_weight": node.OBJECTNESS_WEIGHT,
            **({} if passing == "none" else {"passing_match": passing}),
        }

    def forward(
        self,
        outputs: dict[str, torch.Tensor],
        targets: list[FrameTargets],
        passed: PassedOutputs | None = None,
    ) -> dict[str, torch.Tensor]:
        """Compute the weighted losses.

        Args:
            outputs: see :class:`SetCriterion`.
            targets: the objects of each of the B frames.
            passed: predictions of passed queries, if the batch has clips.

        Returns:
            See :class:`SetCriterion`; with ``passed`` also ``loss_passed_dice`` and
            ``loss_passed_mask``, which are normalised likewise.
        """
        losses, matches = self.matched_losses(outputs, targets)
        if passed is not None:
            with torch.autocast(passed.mask_logits.device.type, enabled=False):
                losses.update(self._passed_losses(passed, targets, matches))
        return losses

    def _passed_losses(
        self, passed: PassedOutputs, targets: list[FrameTargets], matches: Assignment
    ) -> dict[str, torch.Tensor]:
        """Mask losses of passed queries; no class and no objectness loss."""
        mask_logits = passed.mask_logits.float()
        frame_targets = [targets[i] for i in passed.frames]
        if self.passing_match == "shared":
            passed_matches = [matches[i] for i in passed.frames]
        elif self.passing_match == "own":
            passed_matches = self.match(passed.class_logits, mask_logits, frame_targets)
        else:
            passed_matches = [
                _follow_identity(matches[source], targets[source], targets[frame])
                for source, frame in zip(passed.sources, passed.frames, strict=True)
            ]
        logits, wanted = gather_masks(mask_logits, frame_targets, passed_matches)
        dice, mask = self.mask_losses(logits, wanted, *normalizers(frame_targets, logits))
        return {
            "loss_passed_dice": self.passing_weight * dice,
            "loss_passed_mask": self.passing_weight * mask,
        }


def _follow_identity(
    match: tuple[torch.Tensor, torch.Tensor], source: FrameTargets, frame: FrameTargets
) -> tuple[torch.Tensor, torch.Tensor]:
    """The source frame's assignment, as far as its objects are visible in the other frame."""
    queries, objects = match
    same = source.rows[objects][:, None] == frame.rows  # matched, visible in frame
    kept, found = same.nonzero(as_tuple=True)
    return queries[kept], found
