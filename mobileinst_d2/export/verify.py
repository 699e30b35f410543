"""Is an exported graph the PyTorch module that it was made from?"""

import copy
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mobileinst_core.runtime.runners import ExportError

from .guard import run_graph_guarded

__all__ = ["TOLERANCES", "check_graph", "sample_image"]

# Largest difference to PyTorch that is accepted, relative to the largest value of the output. That
# of int8 only tells a broken file from a working one: it is less than what zeros have. Rounding of
# weights to half precision changes a trained network's outputs by a thousandth, one with its first
# weights by a tenth.
TOLERANCES = {"fp32": 1e-4, "fp16": 0.5, "int8": 0.9}
# Where single precision itself costs a network more than a tenth of that, as much of it is.
_ROUNDINGS = 10


def check_graph(
    runtime: str,
    folder: Path,
    graph: Mapping[str, Any],
    module: nn.Module,
    image: np.ndarray,
    tolerance: float,
) -> dict[str, dict[str, float]]:
    """Run a graph, in a process of its own, and compare it with its module.

    Args:
        runtime: what the graph was written for.
        folder: where its files are.
        graph: what ``export_module`` returned.
        module: what it was made from.
        image: the input, (1, 3, H, W).
        tolerance: largest difference, relative to the largest absolute value of the output; of a
            network that single precision costs more, ten times what it costs in PyTorch.

    Returns:
        ``max_difference`` and ``max_relative_difference``, both by output.

    Raises:
        ExportError: the runtime crashed or refused the graph, or an output differs by more.
    """
    with torch.no_grad():
        expected = module(torch.from_numpy(image))
    found = run_graph_guarded(runtime, folder, graph, dict.fromkeys(graph["inputs"], image))
    differences = {"max_difference": {}, "max_relative_difference": {}}
    for name, tensor in zip(graph["outputs"], expected, strict=True):
        reference = tensor.numpy()
        difference = float(np.abs(found[name] - reference).max())
        relative = difference / max(float(np.abs(reference).max()), 1e-30)
        accepted = tolerance
        # Not "above": NaN is above nothing.
        if not relative <= tolerance:
            rounding = _cost_of_rounding(module, image)[name]
            accepted = max(tolerance, _ROUNDINGS * rounding)
        if not relative <= accepted:
            raise ExportError(
                f"{' and '.join(graph['files'])} in {runtime}: {name} differs from PyTorch by "
                f"{difference:.3g}, {_percent(relative)} of its largest value; at most "
                f"{_percent(accepted)} is accepted"
            )
        differences["max_difference"][name] = difference
        differences["max_relative_difference"][name] = relative
    return differences


@torch.no_grad()
def _cost_of_rounding(module: nn.Module, image: np.ndarray) -> dict[str, float]:
    """What single precision costs a module in PyTorch, by output, relative to the largest value.

    Random weights can make a network that turns the last digit of a product into the fourth of a
    result. No two orders of the same sums agree better than that.
    """
    single = module(torch.from_numpy(image))
    try:
        double = copy.deepcopy(module).double()(torch.from_numpy(image).double())
    except RuntimeError:  # a network of a user's that is made for single precision alone
        return dict.fromkeys(module.output_names, 0.0)
    return {
        name: float((x - y).abs().max() / y.abs().max().clamp(min=1e-30))
        for name, x, y in zip(module.output_names, single, double, strict=True)
    }


def sample_image(size: tuple[int, int]) -> np.ndarray:
    """An image with coarse and fine structure, the same in each call.

    Args:
        size: (H, W).

    Returns:
        (1, 3, H, W).
    """
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 5, 7, generator=generator)
    smooth = F.interpolate(coarse, size=tuple(size), mode="bicubic")
    fine = torch.rand(1, 3, *size, generator=generator)
    return (255 * (0.85 * smooth + 0.15 * fine)).clamp(0, 255).numpy()


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %" if math.isfinite(value) else str(value)
