"""Bilinear resizing without PyTorch."""

import numpy as np


def naive_resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Bilinear resizing with half-pixel centres and repeated borders, pixel by pixel."""
    height, width = image.shape
    out = np.zeros(size)
    for i in range(size[0]):
        for j in range(size[1]):
            y = min(max((i + 0.5) * height / size[0] - 0.5, 0), height - 1)
            x = min(max((j + 0.5) * width / size[1] - 0.5, 0), width - 1)
            y0, x0 = int(y), int(x)
            y1, x1 = min(y0 + 1, height - 1), min(x0 + 1, width - 1)
            top = image[y0, x0] * (x0 + 1 - x) + image[y0, x1] * (x - x0)
            bottom = image[y1, x0] * (x0 + 1 - x) + image[y1, x1] * (x - x0)
            out[i, j] = top * (y0 + 1 - y) + bottom * (y - y0)
    return out
