"""Stochastic depth."""

import torch
from torch import nn

__all__ = ["DropPath"]


class DropPath(nn.Module):
    """Drops a residual branch per sample in training and scales what is left by 1 / (1 - p)."""

    def __init__(self, probability: float = 0.0) -> None:
        """Build the layer.

        Args:
            probability: chance in [0, 1) that the branch of a sample is dropped.

        Raises:
            ValueError: if ``probability`` is not in that range.
        """
        super().__init__()
        if not 0.0 <= probability < 1.0:
            raise ValueError(f"the probability must be in [0, 1), got {probability}")
        self.probability = probability

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Drop in training, pass on ``x`` (B, ...) otherwise."""
        if not self.training or self.probability == 0.0:
            return x
        keep = 1.0 - self.probability
        mask = x.new_empty((len(x),) + (1,) * (x.ndim - 1)).bernoulli_(keep)
        return x * mask / keep
