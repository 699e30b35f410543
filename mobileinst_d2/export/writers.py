"""From a PyTorch module to the files of one graph, for each runtime."""

import contextlib
import importlib.metadata
import importlib.util
import logging
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from mobileinst_core.runtime.runners import ExportError

from .guard import run_guarded

__all__ = [
    "RUNTIMES",
    "Runtime",
    "export_module",
    "require",
    "versions",
]

Inputs = torch.Tensor | Sequence[torch.Tensor]

# The first version whose operators include all that PyTorch's exporter writes.
_OPSET = 18


class Runtime(NamedTuple):
    """What this project knows of a runtime.

    Attributes:
        export: writes the files of a graph, see :func:`export_module`.
        run_packages: modules that running needs, and the packages that give them.
        export_packages: what exporting needs besides.
        suffix: of the file that graphs are named by.
    """

    export: Callable[..., dict]
    run_packages: Mapping[str, str]
    export_packages: Mapping[str, str]
    suffix: str


def require(runtime: str, *, to_export: bool = False) -> None:
    """Make sure that a runtime is installed.

    Args:
        runtime: name in ``RUNTIMES``.
        to_export: whether graphs are exported, too.

    Raises:
        ExportError: the runtime is unknown, or a package is missing; the message says which.
    """
    if runtime not in RUNTIMES:
        raise ExportError(f"there is no runtime {runtime!r}; known are {', '.join(RUNTIMES)}")
    packages = _packages(runtime, to_export)
    missing = [name for module, name in packages.items() if not _is_installed(module)]
    if missing:
        raise ExportError(
            f"{runtime} needs {', '.join(missing)}, not installed here: "
            f'pip install "mobileinst_d2[{runtime}]", or: pip install {" ".join(missing)}'
        )


def versions(runtime: str) -> dict[str, str]:
    """Versions of PyTorch and of the packages that a runtime and its export need."""
    names = ["torch", *_packages(runtime, to_export=True).values()]
    return {name: importlib.metadata.version(name) for name in names}


def export_module(
    runtime: str,
    module: nn.Module,
    example_input: Inputs,
    path: str | Path,
    input_names: Sequence[str] = ("image",),
    output_names: Sequence[str] = ("output",),
) -> dict[str, Any]:
    """Write a module for a runtime. Any module will do that the runtime has operators for.

    Args:
        runtime: name in ``RUNTIMES``.
        module: in evaluation mode, on the CPU; returns a tensor or a tuple of tensors.
        example_input: its input, or inputs, (1, ...) float32; the shapes are fixed by it.
        path: the file to write, such as image.onnx or image.ncnn.param.
        input_names: one name per input.
        output_names: one name per output.

    Returns:
        The graph as :class:`GraphRunner` takes it: ``files`` beside each other in the folder of
        ``path``, and ``inputs`` and ``outputs`` with ``tensor`` (the name in the file) and
        ``shape``.

    Raises:
        ExportError: a package is missing, or the module cannot be expressed in the runtime.
        ValueError: the module is in training mode or has another number of inputs or outputs.
    """
    require(runtime, to_export=True)
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
        tensors = RUNTIMES[runtime].export(module, inputs, path, input_names, output_names)
    return {
        "files": tensors.files,
        "inputs": _describe(input_names, tensors.inputs, inputs),
        "outputs": _describe(output_names, tensors.outputs, outputs),
    }


class _Written(NamedTuple):
    """Files, and the names that inputs and outputs have in them."""

    files: list[str]
    inputs: Sequence[str]
    outputs: Sequence[str]


Names = Sequence[str]
Tensors = tuple[torch.Tensor, ...]


def _write_onnx(
    module: nn.Module, inputs: Tensors, path: Path, input_names: Names, output_names: Names
) -> _Written:
    try:
        torch.onnx.export(
            module,
            inputs,
            path,
            input_names=list(input_names),
            output_names=list(output_names),
            dynamo=True,
            opset_version=_OPSET,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    # Of its errors only a base class outside the public modules is common.
    except Exception as error:
        raise ExportError(f"PyTorch cannot write {path.name}: {error}") from error
    return _Written([path.name], input_names, output_names)


def _write_ncnn(
    module: nn.Module, inputs: Tensors, path: Path, input_names: Names, output_names: Names
) -> _Written:
    import pnnx

    stem = path.name.removesuffix(RUNTIMES["ncnn"].suffix)
    with tempfile.TemporaryDirectory(prefix="mobileinst_pnnx_") as scratch:
        # pnnx makes the names of its files from this one, and replaces some letters.
        try:
            traced = torch.jit.trace(module, inputs, check_trace=False)
        except Exception as error:
            raise ExportError(f"PyTorch cannot trace the graph {stem}: {error}") from error
        traced.save(f"{scratch}/graph.pt")
        shapes = ",".join(f"[{','.join(map(str, x.shape))}]f32" for x in inputs)
        command = [pnnx.EXEC_PATH, "graph.pt", f"inputshape={shapes}", "fp16=0"]
        said = run_guarded(command, scratch, f"pnnx on the graph {stem}")
        files = []
        # It may end well and have written nothing.
        for suffix in (".ncnn.param", ".ncnn.bin"):
            source = Path(scratch, f"graph{suffix}")
            if not source.is_file():
                raise ExportError(
                    f"pnnx wrote no {suffix} file of the graph {stem}:\n{said[-2000:]}"
                )
            files.append(f"{stem}{suffix}")
            source.replace(path.with_name(files[-1]))
    _check_ncnn_layers(path.with_name(files[0]))
    return _Written(
        files,
        [f"in{index}" for index in range(len(input_names))],
        [f"out{index}" for index in range(len(output_names))],
    )


def _check_ncnn_layers(path: Path) -> None:
    """Refuse operators that pnnx left as they were, which ncnn does not know."""
    lines = path.read_text(encoding="utf-8").splitlines()[2:]
    kinds = {line.split()[0] for line in lines if line.strip()}
    if unknown := sorted(kind for kind in kinds if not re.fullmatch(r"\w+", kind)):
        raise ExportError(f"ncnn has no layer for {', '.join(unknown)}, which {path.name} needs")


def _write_mnn(
    module: nn.Module, inputs: Tensors, path: Path, input_names: Names, output_names: Names
) -> _Written:
    with tempfile.TemporaryDirectory(prefix="mobileinst_mnn_") as scratch:
        onnx_file = Path(scratch, "graph.onnx")
        _write_onnx(module, inputs, onnx_file, input_names, output_names)
        # The converter alone: the command of that package would install others and report on the
        # user.
        code = "import sys, _tools; _tools.mnnconvert(sys.argv)"
        arguments = ["-f", "ONNX", "--modelFile", str(onnx_file), "--MNNModel", "graph.mnn"]
        command = [sys.executable, "-c", code, *arguments, "--bizCode", "mobileinst"]
        said = run_guarded(command, scratch, f"MNN's converter on the graph {path.stem}")
        if not Path(scratch, "graph.mnn").is_file():
            raise ExportError(f"MNN's converter wrote nothing:\n{said[-2000:]}")
        Path(scratch, "graph.mnn").replace(path)
    return _Written([path.name], input_names, output_names)


def _write_executorch(
    module: nn.Module, inputs: Tensors, path: Path, input_names: Names, output_names: Names
) -> _Written:
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower

    try:
        exported = torch.export.export(module, inputs)
        program = to_edge_transform_and_lower(exported, partitioner=[XnnpackPartitioner()])
        path.write_bytes(program.to_executorch().buffer)
    except Exception as error:
        raise ExportError(f"ExecuTorch cannot express {path.stem}: {error}") from error
    numbers = [str(index) for index in range(max(len(input_names), len(output_names)))]
    return _Written([path.name], numbers[: len(input_names)], numbers[: len(output_names)])


_ONNX_WRITERS = {"onnx": "onnx", "onnxscript": "onnxscript"}
RUNTIMES = {
    "onnx": Runtime(_write_onnx, {"onnxruntime": "onnxruntime"}, _ONNX_WRITERS, ".onnx"),
    "ncnn": Runtime(_write_ncnn, {"ncnn": "ncnn"}, {"pnnx": "pnnx"}, ".ncnn.param"),
    "executorch": Runtime(_write_executorch, {"executorch": "executorch"}, {}, ".pte"),
    "mnn": Runtime(_write_mnn, {"MNN": "MNN"}, _ONNX_WRITERS, ".mnn"),
    # It reads ONNX.
    "openvino": Runtime(_write_onnx, {"openvino": "openvino"}, _ONNX_WRITERS, ".onnx"),
}


def _packages(runtime: str, to_export: bool) -> dict[str, str]:
    found = RUNTIMES[runtime]
    return {**found.run_packages, **(found.export_packages if to_export else {})}


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


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
