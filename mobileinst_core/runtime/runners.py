"""One graph in one runtime: arrays in, arrays out.

This file imports NumPy only, and a runtime when one is used, so that it can also be run by itself
in a fresh interpreter (see ``guard.py``). It must not import from the package.
"""

import json
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["RUNNERS", "ExportError", "GraphRunner"]


class ExportError(RuntimeError):
    """A model that cannot be exported, or an exported one that cannot be used."""


class GraphRunner(ABC):
    """Calls one exported graph.

    Attributes:
        inputs: shape of each input, by its name.
        outputs: shape of each output, by its name.
    """

    def __init__(self, folder: str | Path, graph: Mapping[str, Any], num_threads: int = 1) -> None:
        """Load the graph.

        Args:
            folder: where its files are.
            graph: ``files``, ``inputs`` and ``outputs`` as in the sidecar.
            num_threads: CPU threads of the runtime.

        Raises:
            ExportError: the runtime cannot load the files, or they have other inputs or outputs.
        """
        self.inputs = {name: tuple(x["shape"]) for name, x in graph["inputs"].items()}
        self.outputs = {name: tuple(x["shape"]) for name, x in graph["outputs"].items()}
        self._sources = [x["tensor"] for x in graph["inputs"].values()]
        self._targets = [x["tensor"] for x in graph["outputs"].values()]
        self._files = [Path(folder) / name for name in graph["files"]]
        try:
            self._load(num_threads)
        except ExportError:
            raise
        # Runtimes raise what they like, RuntimeError and bare Exception among them.
        except Exception as error:
            raise ExportError(f"{self._names()} cannot be loaded: {error}") from error

    def __call__(self, *arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Run the graph.

        Args:
            *arrays: the inputs in order, float32, of the shapes in ``inputs``.

        Returns:
            The outputs by name, float32.

        Raises:
            ExportError: shapes or types differ from those that the graph was exported for.
        """
        found = [(x.shape, x.dtype) for x in arrays]
        if found != [(shape, np.float32) for shape in self.inputs.values()]:
            raise ExportError(
                f"{self._names()} takes float32 arrays {_shapes(self.inputs)}, got "
                + ", ".join(f"{shape} {dtype}" for shape, dtype in found)
            )
        try:
            results = self._run([np.ascontiguousarray(x) for x in arrays])
        except Exception as error:
            raise ExportError(f"{self._names()} cannot be run: {error}") from error
        outputs = dict(zip(self.outputs, results, strict=True))
        got = {name: tuple(x.shape) for name, x in outputs.items()}
        if got != self.outputs:
            raise ExportError(
                f"{self._names()} gives {_shapes(got)}, the sidecar says {_shapes(self.outputs)}"
            )
        return outputs

    @abstractmethod
    def _load(self, num_threads: int) -> None:
        """Load ``_files`` and compare their tensors with ``_sources`` and ``_targets``."""

    @abstractmethod
    def _run(self, arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
        """Feed ``_sources``, and give the ``_targets`` in order."""

    def _check_tensors(self, kind: str, wanted: Sequence[str], found: Sequence[str]) -> None:
        if set(wanted) != set(found):
            raise ExportError(
                f"{self._names()} has the {kind} {', '.join(found)}, the sidecar names "
                f"{', '.join(wanted)}"
            )

    def _names(self) -> str:
        return " and ".join(str(path) for path in self._files)


class OnnxRunner(GraphRunner):
    """ONNX Runtime on the CPU."""

    def _load(self, num_threads: int) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = num_threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3  # errors; what fails is raised too
        # Nothing is gained by threads that wait actively between frames.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        self._session = onnxruntime.InferenceSession(
            self._files[0], options, providers=["CPUExecutionProvider"]
        )
        found = [x.name for x in self._session.get_inputs()]
        self._check_tensors("inputs", self._sources, found)
        found = [x.name for x in self._session.get_outputs()]
        self._check_tensors("outputs", self._targets, found)

    def _run(self, arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
        feed = dict(zip(self._sources, arrays, strict=True))
        return self._session.run(self._targets, feed)


class NcnnRunner(GraphRunner):
    """ncnn on the CPU, in fp32 on every machine."""

    def _load(self, num_threads: int) -> None:
        import ncnn

        self._ncnn = ncnn
        self._net = ncnn.Net()
        self._net.opt.num_threads = num_threads
        self._net.opt.use_vulkan_compute = False
        # On ARM ncnn would use half precision by itself.
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
            setattr(self._net.opt, f"use_{name}", False)
        parameters, weights = (str(path) for path in self._files)
        if self._net.load_param(parameters) or self._net.load_model(weights):
            raise ExportError(f"{self._names()} cannot be loaded by ncnn")
        self._check_tensors("inputs", self._sources, self._net.input_names())
        # To ncnn every tensor that nothing uses is an output: of a split, parts may be left over.
        found = self._net.output_names()
        self._check_tensors("outputs", self._targets, [x for x in found if x in self._targets])

    def _run(self, arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
        extractor = self._net.create_extractor()
        for name, array in zip(self._sources, arrays, strict=True):
            # A copy in memory of ncnn's own: layers may work in place, and want it aligned.
            extractor.input(name, self._ncnn.Mat(array[0]).clone())
        results = []
        for name in self._targets:
            code, mat = extractor.extract(name)
            if code:
                raise ExportError(f"ncnn gives {code} for {name}")
            results.append(np.array(mat)[None])
        return results


class OpenVinoRunner(GraphRunner):
    """OpenVINO on the CPU, in fp32."""

    def _load(self, num_threads: int) -> None:
        import openvino

        core = openvino.Core()
        # Without the hint it computes in bfloat16 where the CPU can.
        options = {
            "INFERENCE_NUM_THREADS": num_threads,
            "NUM_STREAMS": 1,
            "INFERENCE_PRECISION_HINT": "f32",
        }
        self._model = core.compile_model(core.read_model(self._files[0]), "CPU", options)
        found = [x.get_any_name() for x in self._model.inputs]
        self._check_tensors("inputs", self._sources, found)
        found = [x.get_any_name() for x in self._model.outputs]
        self._check_tensors("outputs", self._targets, found)

    def _run(self, arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
        results = self._model(dict(zip(self._sources, arrays, strict=True)))
        return [results[name].copy() for name in self._targets]


class MnnRunner(GraphRunner):
    """MNN on the CPU, in fp32."""

    def _load(self, num_threads: int) -> None:
        import MNN

        self._mnn = MNN
        options = {"backend": "CPU", "precision": "high", "numThread": num_threads}
        self._manager = MNN.nn.create_runtime_manager((options,))
        self._module = MNN.nn.load_module_from_file(
            str(self._files[0]), self._sources, self._targets, runtime_manager=self._manager
        )

    def _run(self, arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
        expr = self._mnn.expr
        inputs = []
        for array in arrays:
            variable = expr.placeholder(list(array.shape), expr.NCHW, expr.float)
            variable.write(array)
            inputs.append(variable)
        outputs = self._module.forward(inputs)
        return [np.array(expr.convert(x, expr.NCHW).read()) for x in outputs]


class ExecuTorchRunner(GraphRunner):
    """ExecuTorch with XNNPACK, which takes its number of threads from the process."""

    def _load(self, num_threads: int) -> None:
        import torch
        from executorch.runtime import Runtime

        self._torch = torch
        self._program = Runtime.get().load_program(self._files[0])
        self._method = self._program.load_method("forward")

    def _run(self, arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
        results = self._method.execute([self._torch.from_numpy(x) for x in arrays])
        return [results[int(name)].numpy().copy() for name in self._targets]


RUNNERS = {
    "onnx": OnnxRunner,
    "ncnn": NcnnRunner,
    "openvino": OpenVinoRunner,
    "mnn": MnnRunner,
    "executorch": ExecuTorchRunner,
}


def _shapes(shapes: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())


def _main(request: Mapping[str, Any]) -> None:
    """Run a graph once, for ``guard.py``."""
    runner = RUNNERS[request["runtime"]](
        request["folder"], request["graph"], request["num_threads"]
    )
    with np.load(request["inputs"]) as arrays:
        outputs = runner(*(arrays[name] for name in runner.inputs))
    np.savez(request["outputs"], **outputs)


if __name__ == "__main__":
    try:
        _main(json.loads(sys.argv[2]))
    except ExportError as failure:
        Path(json.loads(sys.argv[2])["error"]).write_text(str(failure), encoding="utf-8")
        sys.exit(1)
