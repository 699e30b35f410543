"""The assignment of SciPy, without the rest of its optimisation.

``scipy.optimize`` would be two thirds of the time, and 45 of 200 MiB, with which live tracking
starts; of it only one module of C++ is used.
"""

import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from importlib.util import module_from_spec
from pathlib import Path

import scipy

__all__ = ["linear_sum_assignment"]


def _load() -> Callable:
    """``scipy.optimize.linear_sum_assignment``."""
    if "scipy.optimize" not in sys.modules:
        try:
            folder = str(Path(scipy.__file__).parent / "optimize")
            spec = PathFinder.find_spec("_lsap", [folder])
            module = module_from_spec(spec)
            spec.loader.exec_module(module)
            return module.linear_sum_assignment
        except (AttributeError, ImportError):
            pass  # the module is a private one and may move
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment


linear_sum_assignment = _load()
