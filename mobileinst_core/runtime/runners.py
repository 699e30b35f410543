"""One graph in one runtime: arrays in, arrays out. A runtime is imported when it is used."""

import importlib.util
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobileinst_core.errors import UserError

__all__ = ["PACKAGES", "RUNNERS", "ExportError", "GraphRunner", "require_runtime"]


_DTYPES = {np.dtype(np.float32), np.dtype(np.uint8)}


class ExportError(UserError):
    """A model that cannot be exported, or an exported one that cannot be used."""


class GraphRunner(ABC):
    """Calls one exported graph.

    Attributes:
        inputs: shape of each input, by its name.
        outputs: shape of each output, by its name.
        image_dtype: what the graph reads of images: float32, or uint8.
    """

    image_dtype: type[np.generic] = np.float32

    def __init__(
        self,
        folder: str | Path,
        graph: Mapping[str, Any],
        num_threads: int = 1,
        loaded: dict[Any, Any] | None = None,
    ) -> None:
        """Load the graph.

        Args:
            folder: where its files are.
            graph: ``files``, ``inputs`` and ``outputs`` as in the manifest.
            num_threads: CPU threads of the runtime.
            loaded: what other graphs of the folder have loaded; what is missing is added, so that
                files of several graphs are in memory once.

        Raises:
            ExportError: the runtime cannot load the files, or they have other inputs or outputs.
        """
        self.inputs = {name: tuple(x["shape"]) for name, x in graph["inputs"].items()}
        self.outputs = {name: tuple(x["shape"]) for name, x in graph["outputs"].items()}
        self._sources = [x["tensor"] for x in graph["inputs"].values()]
        self._targets = [x["tensor"] for x in graph["outputs"].values()]
        self._files = [Path(folder) / name for name in graph["files"]]
        self._loaded = {} if loaded is None else loaded
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
            *arrays: the inputs in order, of the shapes in ``inputs``, float32 or uint8. Where the
                graph reads uint8, others are rounded.

        Returns:
            The outputs by name, float32.

        Raises:
            ExportError: shapes or types differ from those that the graph was exported for.
        """
        shapes = [x.shape for x in arrays]
        if shapes != list(self.inputs.values()) or not {x.dtype for x in arrays} <= _DTYPES:
            found = ", ".join(f"{x.shape} {x.dtype}" for x in arrays)
            raise ExportError(
                f"{self._names()} takes float32 or uint8 arrays {_shapes(self.inputs)}, got {found}"
            )
        try:
            results = self._run([_typed(x, self.image_dtype) for x in arrays])
        except Exception as error:
            raise ExportError(f"{self._names()} cannot be run: {error}") from error
        outputs = dict(zip(self.outputs, results, strict=True))
        got = {name: tuple(x.shape) for name, x in outputs.items()}
        if got != self.outputs:
            raise ExportError(
                f"{self._names()} gives {_shapes(got)}, the manifest says {_shapes(self.outputs)}"
            )
        return outputs

    @abstractmethod
    def _load(self, num_threads: int) -> None:
        """Load ``_files`` and compare their tensors with ``_sources`` and ``_targets``."""

    @abstractmethod
    def _run(self, arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
        """Feed ``_sources``, and give the ``_targets`` in order."""

    def _shared(self, key: Any, load: Callable[[], Any]) -> Any:
        """What ``load`` gives, or what it gave another graph of the folder."""
        if key not in self._loaded:
            self._loaded[key] = load()
        return self._loaded[key]

    def _check_tensors(self, kind: str, wanted: Sequence[str], found: Sequence[str]) -> None:
        if missing := set(wanted) - set(found):
            raise ExportError(
                f"{self._names()} has the {kind} {', '.join(found)}, the manifest names "
                f"{', '.join(sorted(missing))}"
            )

    def _names(self) -> str:
        return " and ".join(str(path) for path in self._files)


class OnnxRunner(GraphRunner):
    """ONNX Runtime on the CPU. Each file continues with what the ones before it gave, by name."""

    def _load(self, num_threads: int) -> None:
        self._sessions = [
            self._shared(path, lambda path=path: _onnx_session(path, num_threads))
            for path in self._files
        ]
        found = [x.name for x in self._sessions[0].get_inputs()]
        self._check_tensors("inputs", self._sources, found)
        self._check_tensors("inputs", found, self._sources)
        if all(x.type == "tensor(uint8)" for x in self._sessions[0].get_inputs()):
            self.image_dtype = np.uint8
        found = [x.name for session in self._sessions for x in session.get_outputs()]
        self._check_tensors("outputs", self._targets, found)

    def _run(self, arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
        tensors = dict(zip(self._sources, arrays, strict=True))
        for session in self._sessions:
            feed = {x.name: tensors[x.name] for x in session.get_inputs()}
            names = [x.name for x in session.get_outputs()]
            if session is self._sessions[-1]:  # what only another file needs is not wanted
                names = [name for name in names if name in self._targets]
            tensors.update(zip(names, session.run(names, feed), strict=True))
        return [tensors[name] for name in self._targets]


def _typed(array: np.ndarray, dtype: type[np.generic]) -> np.ndarray:
    """A contiguous array of float32, or of uint8, to which values in [0, 255] are rounded."""
    if array.dtype == np.float32 and dtype == np.uint8:
        import cv2  # in less than half of the time of NumPy; graphs of ncnn run without OpenCV

        return cv2.convertScaleAbs(array.reshape(len(array), -1)).reshape(array.shape)
    return np.ascontiguousarray(array, dtype)


def _onnx_session(path: Path, num_threads: int) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = num_threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors; what fails is raised too
    # A plan of the memory keeps more of it, 20 to 45 MiB at 640x640, and makes nothing faster.
    options.enable_mem_pattern = False
    # Nothing is gained by threads that wait actively between frames.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


class NcnnRunner(GraphRunner):
    """ncnn on the CPU, in fp32 on every machine unless told otherwise.

    It computes only what the outputs of the graph need, so a graph may name some of those in a
    file.

    Attributes:
        half_precision: let graphs that are loaded from now on store and compute in fp16 where the
            processor can, as ncnn would by itself.
    """

    half_precision = False

    def _load(self, num_threads: int) -> None:
        import ncnn

        self._ncnn = ncnn
        self._net = self._shared(tuple(self._files), lambda: self._load_net(num_threads))
        self._check_tensors("inputs", self._sources, self._net.input_names())
        self._check_tensors("outputs", self._targets, self._net.output_names())

    def _load_net(self, num_threads: int) -> Any:
        net = self._ncnn.Net()
        net.opt.num_threads = num_threads
        net.opt.use_vulkan_compute = False
        for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic"):
            setattr(net.opt, f"use_{name}", self.half_precision)
        net.opt.use_bf16_storage = False
        parameters, weights = (str(path) for path in self._files)
        if net.load_param(parameters) or net.load_model(weights):
            raise ExportError(f"{self._names()} cannot be loaded by ncnn")
        return net

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
    """OpenVINO on the CPU, in fp32. Files follow one another as in :class:`OnnxRunner`."""

    def _load(self, num_threads: int) -> None:
        self._models = [
            self._shared(path, lambda path=path: _openvino_model(path, num_threads))
            for path in self._files
        ]
        found = [x.get_any_name() for x in self._models[0].inputs]
        self._check_tensors("inputs", self._sources, found)
        if all(x.get_element_type().to_dtype() == np.uint8 for x in self._models[0].inputs):
            self.image_dtype = np.uint8
        found = [x.get_any_name() for model in self._models for x in model.outputs]
        self._check_tensors("outputs", self._targets, found)

    def _run(self, arrays: list[np.ndarray]) -> Sequence[np.ndarray]:
        tensors = dict(zip(self._sources, arrays, strict=True))
        for model in self._models:
            results = model({x.get_any_name(): tensors[x.get_any_name()] for x in model.inputs})
            names = [x.get_any_name() for x in model.outputs]
            tensors.update({name: results[name].copy() for name in names})
        return [tensors[name] for name in self._targets]


def _openvino_model(path: Path, num_threads: int) -> Any:
    import openvino

    core = openvino.Core()
    # Without the hint it computes in bfloat16 where the CPU can.
    options = {
        "INFERENCE_NUM_THREADS": num_threads,
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
    }
    return core.compile_model(core.read_model(path), "CPU", options)


RUNNERS = {
    "onnx": OnnxRunner,
    "ncnn": NcnnRunner,
    "openvino": OpenVinoRunner,
}


# What running needs, as package by module.
PACKAGES = {
    "onnx": {"onnxruntime": "onnxruntime"},
    "ncnn": {"ncnn": "ncnn"},
    "openvino": {"openvino": "openvino"},
}


def require_runtime(runtime: str, packages: Mapping[str, str] | None = None) -> None:
    """Make sure that a runtime is installed.

    Args:
        runtime: name in ``RUNNERS``.
        packages: what is needed besides, as package by module.

    Raises:
        ExportError: the runtime is unknown, or a package is missing; the message says which.
    """
    if runtime not in RUNNERS:
        raise ExportError(f"there is no runtime {runtime!r}; known are {', '.join(RUNNERS)}")
    needed = {**PACKAGES[runtime], **(packages or {})}
    missing = [name for module, name in needed.items() if not _is_installed(module)]
    if missing:
        raise ExportError(
            f"{runtime} needs {', '.join(missing)}, not installed here: "
            f'pip install "mobileinst_d2[{runtime}]", or: pip install {" ".join(missing)}'
        )


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _shapes(shapes: Mapping[str, Sequence[int]]) -> str:
    return ", ".join(f"{name} {tuple(shape)}" for name, shape in shapes.items())
