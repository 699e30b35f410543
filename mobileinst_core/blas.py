"""One thread for the products of matrices after the network.

They take a millisecond, but the threads of OpenBLAS, NumPy's library for them, go on waiting busily
for the next one: the demo had half its frames per second on two cores, which they took from the
network, reading and drawing.
"""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

import numpy as np  # noqa: F401  (its library must be there to be found)
from threadpoolctl import ThreadpoolController

__all__ = ["SMALL_PRODUCT", "one_blas_thread"]

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")

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
