"""Losses: one file per system, on shared parts."""

from .mobileinst import MobileInstCriterion, PassedOutputs
from .set_criterion import SetCriterion
from .sparseinst import SparseInstCriterion

__all__ = ["MobileInstCriterion", "PassedOutputs", "SetCriterion", "SparseInstCriterion"]
