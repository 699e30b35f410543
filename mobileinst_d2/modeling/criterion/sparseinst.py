"""Losses of SparseInst (section 3.4)."""

from typing import Any

import torch
from detectron2.config import CfgNode, configurable

from mobileinst_core.options import check_option

from ..matcher import HungarianMatcher
from ..targets import FrameTargets
from .set_criterion import SetCriterion

__all__ = ["SparseInstCriterion"]

_NORMALIZATIONS = ("global", "as_published")


class SparseInstCriterion(SetCriterion):
    """The losses of matched queries, over the matches of all processes or of each."""

    @configurable
    def __init__(self, *, normalization: str = "global", **matched: Any) -> None:
        """Build the criterion.

        Args:
            normalization: what the pixel-wise and the objectness loss are divided by: "global"
                (matches of all processes, so that a batch gives the same gradients on any number
                of them) or "as_published" (matches of each process, as the public code).
            **matched: see :class:`SetCriterion`.

        Raises:
            ValueError: if ``normalization`` is unknown.
        """
        super().__init__(**matched)
        check_option("normalization", normalization, _NORMALIZATIONS)
        self.normalization = normalization

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from ``cfg.MODEL.SPARSEINST.LOSS``."""
        node = cfg.MODEL.SPARSEINST.LOSS
        return {
            "matcher": HungarianMatcher(),
            "class_weight": node.CLASS_WEIGHT,
            "dice_weight": node.DICE_WEIGHT,
            "mask_weight": node.MASK_WEIGHT,
            "objectness_weight": node.OBJECTNESS_WEIGHT,
            "normalization": node.NORMALIZATION,
        }

    def normalizers(self, targets: list[FrameTargets], logits: torch.Tensor) -> list[float]:
        """See :class:`SetCriterion`."""
        num_objects, num_matches = super().normalizers(targets, logits)
        if self.normalization == "as_published":
            return [max(1.0, num_objects), max(1.0, len(logits))]
        return [num_objects, num_matches]
