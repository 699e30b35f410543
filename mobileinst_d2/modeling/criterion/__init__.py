"""Losses: one file per system, on shared parts."""

from .fastinst import FastInstCriterion, PixelProposals, QueryOutputs
from .mobileinst import MobileInstCriterion, PassedOutputs
from .set_criterion import SetCriterion, count_for_loss
from .sparseinst import SparseInstCriterion
from .yolact import YOLACTCriterion

__all__ = [
    "FastInstCriterion",
    "MobileInstCriterion",
    "PassedOutputs",
    "PixelProposals",
    "QueryOutputs",
    "SetCriterion",
    "SparseInstCriterion",
    "YOLACTCriterion",
    "count_for_loss",
]
