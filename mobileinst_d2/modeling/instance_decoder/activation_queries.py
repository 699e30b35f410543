"""Instance-activation-guided queries (FastInst, section 3.3)."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

__all__ = ["ActivationQueries", "QueryProposals"]

# Probability below which a pixel is no local maximum.
_MIN_PEAK = 1e-6


class QueryProposals(NamedTuple):
    """Queries taken from a map of (h, w) pixels, best first.

    Attributes:
        queries: (B, N, C), the map at the chosen pixels.
        position: (B, N, C), the positions there.
        pixels: (B, N) int64, the chosen pixels, row by row.
        logits: (B, K + 1, h, w), class logits of all pixels, the last of "no object".
    """

    queries: torch.Tensor
    position: torch.Tensor
    pixels: torch.Tensor
    logits: torch.Tensor


class ActivationQueries(nn.Module):
    """Classifies pixels, and takes those as queries that look most like an object.

    Local maxima of the class probability come before all others.
    """

    def __init__(self, dim: int, num_classes: int, num_queries: int) -> None:
        """Build the head.

        Args:
            dim: channels of the map.
            num_classes: number of classes K.
            num_queries: number of queries N; a map of fewer pixels gives one per pixel.
        """
        super().__init__()
        self.num_queries = num_queries
        self.conv = nn.Conv2d(dim, dim, 3, padding=1)
        self.classifier = nn.Conv2d(dim, num_classes + 1, 1)

    def forward(
        self, x: torch.Tensor, position: torch.Tensor, inside: torch.Tensor | None = None
    ) -> QueryProposals:
        """Choose the queries.

        Args:
            x: (B, C, h, w).
            position: (h * w, C).
            inside: (B, h, w), 1 where the image is and 0 in its padding; pixels in the padding are
                taken only if there are not enough others. None = all pixels count.

        Returns:
            min(N, h * w) queries per image.
        """
        logits = self.classifier(self.conv(x).relu())
        rank = activation_rank(logits)
        if inside is not None:
            rank = rank + 2 * inside  # before local maxima, too
        # Fewer pixels than queries are in images below 160x160.
        count = min(self.num_queries, rank.shape[-2] * rank.shape[-1])
        pixels = rank.flatten(1).topk(count, dim=1).indices
        index = pixels[:, :, None].expand(-1, -1, x.shape[1])
        return QueryProposals(
            x.flatten(2).transpose(1, 2).gather(1, index),
            position.expand(x.shape[0], -1, -1).gather(1, index),
            pixels,
            logits,
        )


@torch.no_grad()
def activation_rank(logits: torch.Tensor) -> torch.Tensor:
    """What pixels are ranked by: their best class probability, and 1 more at a local maximum.

    A pixel is a local maximum if none of its 8 neighbours that have the same best class has a
    higher probability of it. (B, K + 1, h, w), the last class "no object", to (B, h, w).
    """
    probs = logits.float().softmax(dim=1)[:, :-1]
    best = probs.amax(dim=1)
    planes = probs * (probs >= best[:, None])
    peaks = F.max_pool2d(planes, 3, stride=1, padding=1)
    is_peak = ((planes >= peaks) & (planes >= _MIN_PEAK)).any(dim=1)
    return best + is_peak
