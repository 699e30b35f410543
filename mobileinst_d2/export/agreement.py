"""Do two sets of outputs of a graph mean the same instances?"""

from collections.abc import Mapping

import numpy as np

__all__ = ["Outputs", "foreground", "share_found_again"]

Outputs = Mapping[str, np.ndarray]

# Instances that are compared: those with the best scores, as many as most networks have queries.
_COMPARED = 100
# An instance is found again in one whose scores and mask are these close to its own.
_SCORE_DIFFERENCE = 0.005
_MASK_IOU = 0.98


def foreground(outputs: Outputs, instances: np.ndarray | slice = slice(None)) -> np.ndarray | None:
    """Where the masks of a graph are.

    Args:
        outputs: of a graph, of one image.
        instances: which of its N queries, or anchors, all by default.

    Returns:
        (n, h, w) bool; None if the outputs hold no masks.
    """
    if "mask_logits" in outputs:
        return outputs["mask_logits"][0, instances] > 0
    for factors, maps in (("kernels", "mask_features"), ("coefficients", "prototypes")):
        if factors in outputs and maps in outputs:
            return np.einsum("nd,dhw->nhw", outputs[factors][0, instances], outputs[maps][0]) > 0
    return None


def share_found_again(expected: Outputs, found: Outputs) -> float | None:
    """How many of the best instances are among the best of other outputs.

    Their order does not count: where a network ranks proposals, two with nearly equal ranks may
    change places.

    Args:
        expected: outputs of a graph, of one image.
        found: others of the same graph.

    Returns:
        The share, from 0 to 1. An instance is found again if another has the same scores within
        0.005 and a mask of IoU 0.98 or more. None if the outputs hold no scores or no masks.
    """
    if "scores" not in expected or foreground(expected, slice(0, 1)) is None:
        return None
    (scores, masks), (other_scores, other_masks) = (_best(x) for x in (expected, found))
    both = masks @ other_masks.T
    either = masks.sum(1)[:, None] + other_masks.sum(1) - both
    # Two empty masks are equal.
    has_mask = np.where(either > 0, both / np.maximum(either, 1), 1.0) >= _MASK_IOU
    has_scores = np.abs(scores[:, None] - other_scores).max(2) <= _SCORE_DIFFERENCE
    return float((has_mask & has_scores).any(1).mean())


def _best(outputs: Outputs) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, K) and masks (n, pixels), 0 or 1, of the instances with the best scores."""
    scores = outputs["scores"][0]
    best = np.argsort(-scores.max(1), kind="stable")[:_COMPARED]
    return scores[best], foreground(outputs, best).reshape(len(best), -1).astype(np.float32)
