"""Loss and similarity formulas. Each is implemented here once."""

import torch
import torch.nn.functional as F
from fvcore.nn import sigmoid_focal_loss

__all__ = [
    "dice_loss",
    "focal_loss",
    "mask_bce_loss",
    "paired_dice",
    "paired_iou",
    "pairwise_bce",
    "pairwise_dice",
    "pairwise_smooth_dice",
    "smooth_dice_loss",
]


def _dice(product: torch.Tensor, squares: torch.Tensor) -> torch.Tensor:
    """``2 sum(p t) / (sum p^2 + sum t^2 + 1e-4)`` (SparseInst, eq. 5)."""
    return 2 * product / (squares + 1e-4)


def pairwise_dice(probs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Dice coefficient of every predicted mask with every target.

    Args:
        probs: (N, P), mask probabilities in [0, 1].
        targets: (M, P), target masks in [0, 1].

    Returns:
        (N, M), in [0, 1].
    """
    squares = probs.square().sum(1)[:, None] + targets.square().sum(1)
    return _dice(probs @ targets.T, squares)


def paired_dice(probs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Dice coefficient of each predicted mask with its own target; (M, P), (M, P) -> (M,)."""
    squares = probs.square().sum(1) + targets.square().sum(1)
    return _dice((probs * targets).sum(1), squares)


def _smooth_dice(product: torch.Tensor, sums: torch.Tensor) -> torch.Tensor:
    """``(2 sum(p t) + 1) / (sum p + sum t + 1)`` (MaskFormer, FastInst)."""
    return (2 * product + 1) / (sums + 1)


def pairwise_smooth_dice(probs: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """As :func:`pairwise_dice`, of sums that are not squared and 1 more; (N, P), (M, P)."""
    return _smooth_dice(probs @ targets.T, probs.sum(1)[:, None] + targets.sum(1))


def pairwise_bce(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of every predicted mask with every target, mean over P.

    Logits (N, P) and targets (M, P) in [0, 1] to (N, M).
    """
    ones, zeros = F.softplus(-logits), F.softplus(logits)
    return (ones @ targets.T + zeros @ (1 - targets).T) / logits.shape[1]


def paired_iou(probs: torch.Tensor, targets: torch.Tensor, threshold: float) -> torch.Tensor:
    """Intersection over union of binarised masks, without a gradient.

    Args:
        probs: (M, P), mask probabilities in [0, 1].
        targets: (M, P), target masks in [0, 1], whose pixels have a value above 0.5.
        threshold: predicted pixels have a probability of at least this.

    Returns:
        (M,), in [0, 1].
    """
    with torch.no_grad():
        predicted = probs >= threshold
        wanted = targets > 0.5
        intersection = (predicted & wanted).sum(1)
        union = (predicted | wanted).sum(1)
        return intersection / (union + 1e-6)


def dice_loss(logits: torch.Tensor, targets: torch.Tensor, normalizer: float) -> torch.Tensor:
    """``sum(1 - dice) / normalizer`` over M pairs; (M, P), (M, P) -> scalar."""
    return (1 - paired_dice(logits.sigmoid(), targets)).sum() / normalizer


def smooth_dice_loss(
    logits: torch.Tensor, targets: torch.Tensor, normalizer: float
) -> torch.Tensor:
    """As :func:`dice_loss`, of the smooth dice; (M, P), (M, P) -> scalar."""
    probs = logits.sigmoid()
    dice = _smooth_dice((probs * targets).sum(1), probs.sum(1) + targets.sum(1))
    return (1 - dice).sum() / normalizer


def mask_bce_loss(logits: torch.Tensor, targets: torch.Tensor, normalizer: float) -> torch.Tensor:
    """Binary cross-entropy, mean over pixels, sum over M pairs / normalizer; (M, P) -> scalar."""
    total = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    return total / (logits.shape[1] * normalizer)


def focal_loss(
    logits: torch.Tensor, targets: torch.Tensor, normalizer: float, *, alpha: float, gamma: float
) -> torch.Tensor:
    """Sigmoid focal loss, sum over all elements over ``normalizer``.

    Args:
        logits: (B, N, K).
        targets: (B, N, K), 0 or 1.
        normalizer: number of instances.
        alpha: weight of positives, in [0, 1]; negatives get 1 - alpha.
        gamma: exponent that turns down easy examples.

    Returns:
        Scalar.
    """
    loss = sigmoid_focal_loss(logits, targets, alpha=alpha, gamma=gamma, reduction="sum")
    return loss / normalizer
