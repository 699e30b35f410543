"""What is measured of a model, peak and live tracking too; a function is the work of a process."""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from latency_models import Candidate, ExportedCandidate
from torch import nn

from mobileinst_core.runtime.runners import RUNNERS, ExportError, GraphRunner
from mobileinst_d2.analysis.flops import count_macs
from mobileinst_d2.export.writers import WRITERS, export_module

_EAGER = "pytorch"
RUNTIMES = (_EAGER, *RUNNERS)

_INPUTS, _OUTPUTS, _MODULE = "inputs.npz", "outputs.npz", "module.pt"


class PreparedGraph(NamedTuple):
    """A graph that a runtime can load.

    Attributes:
        folder: where its files are.
        graph: ``files``, ``inputs`` and ``outputs``, see :class:`GraphRunner`.
        note: what has to be known to read the numbers; may be empty.
    """

    folder: Path
    graph: dict
    note: str = ""


class Timing(NamedTuple):
    """Calls of one process.

    Attributes:
        cpu: seconds of CPU time of the process, per call.
        wall: seconds that passed, per call.
        difference: largest difference to PyTorch, relative to the largest value of the output;
            None if not known.
    """

    cpu: list[float]
    wall: list[float]
    difference: float | None = None


class EagerRunner(GraphRunner):
    """PyTorch itself, without compilation."""

    def _load(self, num_threads: int) -> None:
        torch.set_num_threads(num_threads)
        self._module = torch.load(self._files[0], weights_only=False)

    @torch.inference_mode()
    def _run(self, arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
        return [x.numpy() for x in self._module(*map(torch.from_numpy, arrays))]


def prepare_candidate(
    candidate: Candidate, size: tuple[int, int], runtime: str, folder: Path
) -> PreparedGraph:
    """Build a model and write it for a runtime.

    Args:
        candidate: the model.
        size: (H, W) of the input.
        runtime: of :data:`RUNTIMES`.
        folder: an empty folder for the files.

    Returns:
        What :func:`time_graph` takes.
    """
    if isinstance(candidate, ExportedCandidate):
        return PreparedGraph(candidate.folder, candidate.graph(size, runtime))
    built = candidate.build(size, runtime)
    prepared = prepare_graph(built.module, built.inputs, runtime, folder)
    notes = [note for note in (built.note, prepared.note) if note]
    return prepared._replace(note="; ".join(notes))


def prepare_graph(
    module: nn.Module, inputs: Sequence[torch.Tensor], runtime: str, folder: Path
) -> PreparedGraph:
    """Write a module for a runtime, with inputs and the outputs that they shall give.

    Args:
        module: takes the inputs and returns a tuple of tensors; in evaluation mode.
        inputs: as many as it takes.
        runtime: of :data:`RUNTIMES`.
        folder: an empty folder for the files.

    Returns:
        What :func:`time_graph` takes.
    """
    with torch.no_grad():
        outputs = module(*inputs)
    arrays = {
        kind: {f"{kind}{n}": x.numpy() for n, x in enumerate(tensors)}
        for kind, tensors in (("input", inputs), ("output", outputs))
    }
    np.savez(folder / _INPUTS, **arrays["input"])
    np.savez(folder / _OUTPUTS, **arrays["output"])
    note = ""
    if runtime == _EAGER:
        torch.save(module, folder / _MODULE)
        graph = _describe(_MODULE, arrays)
    else:
        names = list(arrays["input"]), list(arrays["output"])
        try:
            file = folder / f"graph{WRITERS[runtime].suffix}"
            graph = export_module(runtime, module, inputs, file, *names)
        except ExportError:
            if runtime not in ("onnx", "openvino"):
                raise
            graph = _export_traced(module, inputs, folder / "traced.onnx", arrays)
            note = "written by PyTorch's older ONNX exporter, as the newer one fails"
    return PreparedGraph(folder, graph, note)


def _export_traced(
    module: nn.Module, inputs: Sequence[torch.Tensor], file: Path, arrays: dict[str, dict]
) -> dict:
    """Write ONNX with the exporter that follows one call, which takes control flow too."""
    names = {f"{kind}_names": list(named) for kind, named in arrays.items()}
    torch.onnx.export(module, tuple(inputs), file, dynamo=False, opset_version=18, **names)
    return _describe(file.name, arrays)


def _describe(file: str, arrays: dict[str, dict]) -> dict:
    """A graph in one file, whose tensors have the names of the arrays."""

    def tensors(kind: str) -> dict:
        return {name: {"tensor": name, "shape": x.shape} for name, x in arrays[kind].items()}

    return {"files": [file], "inputs": tensors("input"), "outputs": tensors("output")}


def time_graph(prepared: PreparedGraph, runtime: str, warm_ups: int, repeats: int) -> Timing:
    """Load a graph and call it, in a process with one thread.

    Args:
        prepared: the graph.
        runtime: to run it in.
        warm_ups: number of calls before those that count, at least 1.
        repeats: number of calls that count.

    Returns:
        The times.
    """
    runner = {**RUNNERS, _EAGER: EagerRunner}[runtime](prepared.folder, prepared.graph)
    inputs = _read(prepared.folder / _INPUTS)
    if inputs is None:
        generator = np.random.default_rng(0)
        inputs = [
            (255 * generator.random(shape)).astype(runner.image_dtype)
            for shape in runner.inputs.values()
        ]
    outputs = list(runner(*inputs).values())
    expected = _read(prepared.folder / _OUTPUTS)
    difference = None if expected is None else max(map(_difference, outputs, expected), default=0.0)
    return time_call(lambda: runner(*inputs), warm_ups - 1, repeats)._replace(difference=difference)


def time_call(call: Callable[[], object], warm_ups: int, repeats: int) -> Timing:
    """Time a call.

    Args:
        call: what to call.
        warm_ups: number of calls before those that count.
        repeats: number of calls that count.

    Returns:
        The times.
    """
    for _ in range(warm_ups):
        call()
    timing = Timing([], [])
    for _ in range(repeats):
        cpu, wall = time.process_time(), time.perf_counter()
        call()
        timing.cpu.append(time.process_time() - cpu)
        timing.wall.append(time.perf_counter() - wall)
    return timing


def count_candidate(candidate: Candidate, size: tuple[int, int]) -> tuple[int, int]:
    """Multiply-accumulates and parameters of what is timed.

    Args:
        candidate: the model.
        size: (H, W) of the input.

    Returns:
        Both numbers.
    """
    built = candidate.build(size, _EAGER)
    params = sum(p.numel() for p in built.module.parameters())
    return count_macs(built.module, built.inputs), params


def _read(file: Path) -> list[np.ndarray] | None:
    if not file.exists():
        return None
    with np.load(file) as arrays:
        return list(arrays.values())


def _difference(found: np.ndarray, expected: np.ndarray) -> float:
    if not expected.size:
        return 0.0
    return float(np.abs(found - expected).max() / max(np.abs(expected).max(), 1e-30))


_MATRIX = 1024
# Channels and side of a 3x3 convolution, the kind of layer that most of a network's time goes to.
_CHANNELS, _SIDE = 256, 80
_PEAK_REPEATS = 5

Calculation = tuple[str, float, Callable[[], object]]  # name, FLOPs, call


def measure_peak() -> dict[str, float]:
    """Time a large matrix product and a 3x3 convolution in every available library.

    To be called in a process with one thread. Multiplications and additions both count. No
    candidate uses Winograd's algorithm, which needs fewer of them.

    Returns:
        GFLOP/s per candidate, of the best call; the highest one is the measured peak.
    """
    rates = {}
    with torch.inference_mode():
        for name, flops, call in _calculations():
            call()
            rates[name] = flops / min(_cpu_seconds(call) for _ in range(_PEAK_REPEATS)) / 1e9
    return rates


def _cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def _calculations() -> Iterator[Calculation]:
    generator = np.random.default_rng(0)
    a, b = generator.standard_normal((2, _MATRIX, _MATRIX), dtype=np.float32)
    image = generator.standard_normal((1, _CHANNELS, _SIDE, _SIDE), dtype=np.float32)
    weight = generator.standard_normal((_CHANNELS, _CHANNELS, 3, 3), dtype=np.float32)
    product_flops = 2.0 * _MATRIX**3
    convolution_flops = 2.0 * 9 * _CHANNELS**2 * _SIDE**2

    yield "matrix product, NumPy", product_flops, lambda: a @ b
    tensors = [torch.from_numpy(x) for x in (a, b, image, weight)]
    yield "matrix product, PyTorch", product_flops, lambda: tensors[0] @ tensors[1]
    yield (
        "3x3 convolution, PyTorch",
        convolution_flops,
        lambda: F.conv2d(tensors[2], tensors[3], padding=1),
    )
    try:
        product = _onnx_call("MatMul", a, b)
        convolution = _onnx_call("Conv", image, weight, pads=[1, 1, 1, 1])
    except ImportError:
        return
    yield "matrix product, ONNX Runtime", product_flops, product
    yield "3x3 convolution, ONNX Runtime", convolution_flops, convolution


def _onnx_call(
    operator: str, x: np.ndarray, constant: np.ndarray, **attributes: object
) -> Callable[[], object]:
    """One operator with a constant second input, as a call of ONNX Runtime."""
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    def info(name: str, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
        return helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)

    # Both operators leave the shape as it is.
    graph = helper.make_graph(
        [helper.make_node(operator, ["x", "constant"], ["y"], **attributes)],
        "peak",
        [info("x", x.shape)],
        [info("y", x.shape)],
        [numpy_helper.from_array(constant, "constant")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"x": x})
