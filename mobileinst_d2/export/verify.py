"""Is an exported graph the PyTorch module that it was made from?"""

import copy
import logging
import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from mobileinst_core.runtime.runners import ExportError

from .agreement import Outputs, share_found_again
from .guard import run_graph_guarded
from .writers import WRITERS, export_module

__all__ = ["TOLERANCES", "Checked", "check_graph", "sample_image"]

logger = logging.getLogger(__name__)

# Largest difference to PyTorch that needs no second look, relative to the largest value of the
# output. That of int8 only tells a broken file from a working one: it is less than what zeros have.
# Rounding of weights to half precision changes a trained network's outputs by a thousandth, one
# with its first weights by a tenth.
TOLERANCES = {"fp32": 1e-4, "fp16": 0.5, "int8": 0.9}
# Share of the instances that must be found again where an output differs by more. Not all: where a
# network decides by a sign or a rank, rounding turns single ones into others.
_FOUND_AGAIN = 0.95
# Outputs depend on the image if at most this share is found again in those of another one.
_SAME_ANYWAY = 0.5


class Checked(NamedTuple):
    """What was found of a graph that was accepted.

    Attributes:
        outputs: of the graph, by name.
        differences: ``max_difference`` and ``max_relative_difference`` to PyTorch, by output.
    """

    outputs: dict[str, np.ndarray]
    differences: dict[str, dict[str, float]]


def check_graph(
    runtime: str,
    folder: Path,
    graph: Mapping[str, Any],
    module: nn.Module,
    image: np.ndarray,
    precision: str = "fp32",
    *,
    accepted: Mapping[str, np.ndarray] = MappingProxyType({}),
) -> Checked:
    """Run a graph, in a process of its own, and compare it with its module.

    Outputs that differ from PyTorch's by more than ``TOLERANCES`` are looked at again. They are
    right if the same instances are found, see :func:`share_found_again`, on an image that tells
    something. Random weights find the same on every image, or turn the last digit of a product into
    the first of a result, so that PyTorch does not agree with itself in double precision. Then the
    same network is written and compared with the statistics of its batch normalisations taken
    from the image, as it has them after a training.

    Args:
        runtime: what the graph was written for.
        folder: where its files are.
        graph: what ``export_module`` returned.
        module: what it was made from.
        image: the input, (1, 3, H, W).
        precision: of the weights in the files, as in ``TOLERANCES``.
        accepted: outputs of another graph with the same weights that was accepted: the same
            numbers are right here, too.

    Returns:
        The outputs and the differences.

    Raises:
        ExportError: the runtime crashed or refused the graph, or it computes something else.
    """
    expected = _run(module, image)
    found = run_graph_guarded(runtime, folder, graph, dict.fromkeys(graph["inputs"], image))
    differences = {name: float(np.abs(found[name] - x).max()) for name, x in expected.items()}
    relative = {name: _relative(found[name], x) for name, x in expected.items()}
    tolerance = TOLERANCES[precision]
    # Not "above": NaN is above nothing.
    wrong = [
        name
        for name, x in relative.items()
        if not x <= tolerance
        and not (name in accepted and _relative(found[name], accepted[name]) <= tolerance)
    ]
    if wrong and not _is_right(runtime, module, image, precision, expected, found):
        name = wrong[0]
        raise ExportError(
            f"{' and '.join(graph['files'])} in {runtime}: {name} differs from PyTorch by "
            f"{differences[name]:.3g}, {_percent(relative[name])} of its largest value; "
            f"{_percent(tolerance)} would be rounding, and the instances are others, too"
        )
    return Checked(found, {"max_difference": differences, "max_relative_difference": relative})


def _is_right(
    runtime: str,
    module: nn.Module,
    image: np.ndarray,
    precision: str,
    expected: Outputs,
    found: Outputs,
) -> bool:
    """Whether outputs that differ are those of the module all the same, see `check_graph`."""
    if _tells_something(module, image, expected):
        share = share_found_again(expected, found)
        logger.info("%.0f %% of the instances are found again.", 100 * share)
        if share >= _FOUND_AGAIN:
            return True
        double = _run_in_double_precision(module, image)
        if double is None or share_found_again(expected, double) >= _FOUND_AGAIN:
            return False
    settled = _settled(module, image) if precision != "int8" else None
    if settled is None:
        return False
    logger.warning(
        "These weights are not trained: the graph is compared once more with statistics of the "
        "batch normalisations from an image."
    )
    with tempfile.TemporaryDirectory(prefix="mobileinst_settled_") as scratch:
        path = Path(scratch, f"settled{WRITERS[runtime].suffix}")
        example = torch.from_numpy(image)
        names = [module.input_name], module.output_names
        half = precision == "fp16"
        graph = export_module(runtime, settled, example, path, *names, half_weights=half)
        again = run_graph_guarded(runtime, Path(scratch), graph, {module.input_name: image})
    reference = _run(settled, image)
    return all(_relative(again[name], x) <= TOLERANCES[precision] for name, x in reference.items())


def _tells_something(module: nn.Module, image: np.ndarray, expected: Outputs) -> bool:
    """Whether a wrong graph would give other instances: those of another image are others."""
    mirrored = _run(module, np.ascontiguousarray(image[..., ::-1]))
    share = share_found_again(expected, mirrored)
    return share is not None and share <= _SAME_ANYWAY


@torch.no_grad()
def _settled(module: nn.Module, image: np.ndarray) -> nn.Module | None:
    """A copy with statistics of the image in its batch normalisations; None if it has none."""
    module = copy.deepcopy(module)
    norms = [layer for layer in module.modules() if hasattr(layer, "running_var")]

    def measure(norm: nn.Module, inputs: tuple[torch.Tensor]) -> None:
        variance, mean = torch.var_mean(inputs[0], dim=(0, 2, 3), correction=0)
        norm.running_mean.copy_(mean)
        norm.running_var.copy_(variance)

    hooks = [norm.register_forward_pre_hook(measure) for norm in norms]
    module(torch.from_numpy(image))
    for hook in hooks:
        hook.remove()
    return module if norms else None


@torch.no_grad()
def _run(module: nn.Module, image: np.ndarray) -> Outputs:
    tensors = module(torch.from_numpy(image))
    return {name: x.numpy() for name, x in zip(module.output_names, tensors, strict=True)}


def _run_in_double_precision(module: nn.Module, image: np.ndarray) -> Outputs | None:
    try:
        return _run(copy.deepcopy(module).double(), image.astype(np.float64))
    except RuntimeError:  # a network of a user's that is made for single precision alone
        return None


def _relative(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference, relative to the largest absolute value."""
    return float(np.abs(found - expected).max()) / max(float(np.abs(expected).max()), 1e-30)


def sample_image(size: tuple[int, int]) -> np.ndarray:
    """An image (1, 3, H, W) with coarse and fine structure, the same in each call."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(1, 3, 5, 7, generator=generator)
    smooth = F.interpolate(coarse, size=tuple(size), mode="bicubic")
    fine = torch.rand(1, 3, *size, generator=generator)
    return (255 * (0.85 * smooth + 0.15 * fine)).clamp(0, 255).numpy()


def _percent(value: float) -> str:
    return f"{100 * value:.3g} %" if math.isfinite(value) else str(value)
