"""Costs of models."""

from .flops import ModelCost, measure_cost

__all__ = ["ModelCost", "measure_cost"]
