"""Memory that is used again, where fresh pages would take longer than the arithmetic."""

import threading
from math import prod

import numpy as np

__all__ = ["Scratch"]


class Scratch(threading.local):
    """Arrays of each thread for what is done with before the next one of the name is taken."""

    def __init__(self) -> None:
        """Begin without memory."""
        self._buffers: dict[str, np.ndarray] = {}

    def take(self, name: str, shape: tuple[int, ...], dtype: type[np.generic]) -> np.ndarray:
        """An array with the memory of the last one of this name, its values undefined."""
        size = prod(shape) * np.dtype(dtype).itemsize
        if name not in self._buffers or len(self._buffers[name]) < size:
            self._buffers[name] = np.empty(size, np.uint8)
        return self._buffers[name][:size].view(dtype).reshape(shape)
