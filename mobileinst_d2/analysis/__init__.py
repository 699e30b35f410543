"""Costs of models."""

from .flops import ModelCost, measure_cost
from .paper import PAPER_ROWS, PAPER_SIZE, PAPER_TOLERANCE, PaperRow

__all__ = [
    "PAPER_ROWS",
    "PAPER_SIZE",
    "PAPER_TOLERANCE",
    "ModelCost",
    "PaperRow",
    "measure_cost",
]
