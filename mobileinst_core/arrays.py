"""Arithmetic beside the network: products in one thread, and memory that is used again.

Products of matrices after the network take a millisecond, but the threads of OpenBLAS, NumPy's
library for them, go on waiting busily for the next one: the demo had half its frames per second on
two cores, which they took from the network, reading and drawing. And where arrays are large, fresh
pages take longer than the arithmetic.
"""

import threading
from collections.abc import Callable
from functools import wraps
from math import prod
from typing import ParamSpec, TypeVar

import numpy as np
from threadpoolctl import ThreadpoolController

__all__ = ["SMALL_PRODUCT", "Scratch", "one_blas_thread"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

# NumPy, which brings it, is imported above.
_libraries = ThreadpoolController().select(user_api="blas").lib_controllers

# Multiplications up to which a product reads its matrices as they stand; 0 = it always copies them
# first. OpenBLAS has such kernels for processors with AVX-512, which it calls by these names.
_ARCHITECTURES = {"SkylakeX", "Cooperlake", "Sapphirerapids"}
_has_small_kernels = any(
    getattr(library, "architecture", None) in _ARCHITECTURES for library in _libraries
)
SMALL_PRODUCT = 1_000_000 if _has_small_kernels else 0


def one_blas_thread(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result]:
    """Decorate a function that multiplies small matrices.

    The number of threads is one of the process: after a call it is what it was before. The limits
    of threadpoolctl do the same, and take as long as a small product.
    """

    @wraps(function)
    def limited(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result:
        before = [library.get_num_threads() for library in _libraries]
        if max(before, default=1) == 1:
            return function(*args, **kwargs)
        try:
            for library in _libraries:
                library.set_num_threads(1)
            return function(*args, **kwargs)
        finally:
            for library, count in zip(_libraries, before, strict=True):
                library.set_num_threads(count)

    return limited


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
