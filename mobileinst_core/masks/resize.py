"""Bilinear resizing with half-pixel centres, as ``torch.nn.functional.interpolate`` does it."""

import math

import numpy as np

__all__ = ["bilinear_resize", "logit", "resize_rows", "sigmoid"]


def logit(probability: float) -> float:
    """Of which a probability is the sigmoid, with those of 0 and 1 for what is beyond."""
    if probability <= 0 or probability >= 1:
        return math.copysign(math.inf, probability - 0.5)
    return math.log(probability) - math.log1p(-probability)


def sigmoid(x: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """``1 / (1 + exp(-x))`` in single precision, into ``out`` if given; NaN stays NaN."""
    y = np.negative(x, out, dtype=np.float32)
    with np.errstate(over="ignore"):  # 1 / inf is the 0 that is wanted
        np.exp(y, out=y)
    y += 1
    return np.reciprocal(y, out=y)


def bilinear_resize(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize a map.

    Args:
        x: (h, w), float32. What is no number spreads to both neighbours, whatever its weight is.
        size: (H, W).

    Returns:
        (H, W), float32. A map that has the size already stays as it is.
    """
    if x.shape == size:
        return x
    return resize_rows(resize_rows(x, size[0]).T, size[1]).T


def resize_rows(x: np.ndarray, length: int) -> np.ndarray:
    """Resize the first axis of a map, (rows, columns) to (length, columns), float32."""
    scale = np.float32(len(x)) / np.float32(length)
    # Places have single precision. Their product is not rounded before the subtraction, as
    # processors with fused operations compute it.
    places = ((np.arange(length) + 0.5) * float(scale) - 0.5).astype(np.float32).clip(min=0)
    first = places.astype(np.int64).clip(max=len(x) - 1)
    second = (first + 1).clip(max=len(x) - 1)
    weight = (places - first.astype(np.float32)).clip(0, 1)
    before, after = (1 - weight).astype(np.float64), weight.astype(np.float64)
    with np.errstate(invalid="ignore"):
        return (x[first] * before[:, None] + x[second] * after[:, None]).astype(np.float32)
