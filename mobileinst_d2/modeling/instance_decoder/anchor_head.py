"""YOLACT's prediction head: what each anchor is, where, and how its mask is mixed."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from ..layers import xavier_conv

__all__ = ["AnchorHead", "AnchorPredictions"]


class AnchorPredictions(NamedTuple):
    """What is said about the A anchors of a batch.

    Attributes:
        class_logits: (B, A, K + 1); the first class is the background.
        box_deltas: (B, A, 4), see :func:`~mobileinst_d2.modeling.anchors.decode_boxes`.
        coefficients: (B, A, D), factors of the prototypes, in [-1, 1].
    """

    class_logits: torch.Tensor
    box_deltas: torch.Tensor
    coefficients: torch.Tensor


class AnchorHead(nn.Module):
    """One head for all levels of the pyramid (YOLACT, figure 4)."""

    def __init__(
        self, dim: int = 256, *, num_classes: int, num_anchors: int, num_prototypes: int
    ) -> None:
        """Build the head.

        Args:
            dim: channels of the levels, and of the shared convolution.
            num_classes: number of classes, without the background.
            num_anchors: anchors at each position.
            num_prototypes: number of prototypes.
        """
        super().__init__()
        self.conv = xavier_conv(dim, dim, 3)
        self.classes = xavier_conv(dim, num_anchors * (num_classes + 1), 3)
        self.boxes = xavier_conv(dim, num_anchors * 4, 3)
        self.coefficients = xavier_conv(dim, num_anchors * num_prototypes, 3)
        self.num_anchors = num_anchors

    def forward(self, levels: Sequence[torch.Tensor]) -> AnchorPredictions:
        """Predict.

        Args:
            levels: (B, dim, h, w) each.

        Returns:
            The predictions: level by level, row by row, position by position, then the anchors.
        """
        hidden = [self.conv(x).relu() for x in levels]
        classes, boxes, coefficients = (
            torch.cat([self._per_anchor(layer(x)) for x in hidden], dim=1)
            for layer in (self.classes, self.boxes, self.coefficients)
        )
        return AnchorPredictions(classes, boxes, coefficients.tanh())

    def _per_anchor(self, x: torch.Tensor) -> torch.Tensor:
        """(B, anchors * C, h, w) to (B, h * w * anchors, C)."""
        batch, channels, height, width = x.shape
        count = height * width * self.num_anchors
        return x.permute(0, 2, 3, 1).reshape(batch, count, channels // self.num_anchors)
