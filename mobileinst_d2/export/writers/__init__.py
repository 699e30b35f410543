"""From a PyTorch module to the files of one graph; one writer per runtime."""

import contextlib
import importlib.metadata
import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mobileinst_core.runtime.runners import PACKAGES, require_runtime

from .base import Names, Tensors, Writer
from .ncnn import NCNN
from .onnx import ONNX

__all__ = ["WRITERS", "export_module", "require_writer", "versions"]

Inputs = torch.Tensor | Sequence[torch.Tensor]

# By the name of the runtime, as in RUNNERS. OpenVINO reads ONNX.
WRITERS: dict[str, Writer] = {"onnx": ONNX, "ncnn": NCNN, "openvino": ONNX}


def require_writer(runtime: str) -> None:
    """Make sure that graphs can be written for a runtime and run by it.

    Args:
        runtime: name in ``WRITERS``.

    Raises:
        ExportError: the runtime is unknown, or a package is missing; the message says which.
    """
    require_runtime(runtime, WRITERS[runtime].packages if runtime in WRITERS else None)


def versions(runtime: str) -> dict[str, str]:
    """Versions of PyTorch and of the packages that a runtime and its export need."""
    names = ["torch", *PACKAGES[runtime].values(), *WRITERS[runtime].packages.values()]
    return {name: importlib.metadata.version(name) for name in names}


def export_module(
    runtime: str,
    module: nn.Module,
    example_input: Inputs,
    path: str | Path,
    input_names: Sequence[str] = ("image",),
    output_names: Sequence[str] = ("output",),
    *,
    half_weights: bool = False,
) -> dict[str, Any]:
    """Write a module for a runtime. Any module will do that the runtime has operators for.

    Args:
        runtime: name in ``WRITERS``.
        module: in evaluation mode, on the CPU; returns a tensor or a tuple of tensors.
        example_input: its input, or inputs, (1, ...) float32; the shapes are fixed by it.
        path: the file to write, such as image.onnx or image.ncnn.param.
        input_names: one name per input.
        output_names: one name per output.
        half_weights: store weights in half precision. They take half the space; what is computed
            with them stays in fp32.

    Returns:
        The graph as :class:`GraphRunner` takes it: ``files`` beside each other in the folder of
        ``path``, and ``inputs`` and ``outputs`` with ``tensor`` (the name in the file) and
        ``shape``.

    Raises:
        ExportError: a package is missing, or the module cannot be expressed in the runtime.
        ValueError: the module is in training mode or has another number of inputs or outputs.
    """
    require_writer(runtime)
    path = Path(path)
    inputs = (example_input,) if isinstance(example_input, torch.Tensor) else tuple(example_input)
    if module.training:
        raise ValueError("the module is in training mode: call module.eval() to export it")
    with torch.no_grad():
        outputs = module(*inputs)
    outputs = (outputs,) if isinstance(outputs, torch.Tensor) else tuple(outputs)
    for kind, names, found in (("input", input_names, inputs), ("output", output_names, outputs)):
        if len(names) != len(found):
            raise ValueError(f"the module has {len(found)} {kind}s, {kind}_names has {len(names)}")
    with _quiet(), torch.no_grad():
        write = WRITERS[runtime].write
        tensors = write(module, inputs, path, input_names, output_names, half_weights)
    return {
        "files": tensors.files,
        "inputs": _describe(input_names, tensors.inputs, inputs),
        "outputs": _describe(output_names, tensors.outputs, outputs),
    }


def _describe(names: Names, tensors: Names, examples: Tensors) -> dict[str, dict]:
    return {
        name: {"tensor": tensor, "shape": list(example.shape)}
        for name, tensor, example in zip(names, tensors, examples, strict=True)
    }


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporters tell of themselves; what fails is raised."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
