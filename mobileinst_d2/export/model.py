"""An exported folder in place of a model: the same calls, the same results."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode, configurable, get_cfg

from mobileinst_core.postprocessing import PostProcessing
from mobileinst_core.runtime.images import blank_image, pad_image
from mobileinst_core.runtime.manifest import CONFIG_FILE, Manifest, read_manifest
from mobileinst_core.runtime.runners import RUNNERS, ExportError, GraphRunner, require_runtime

from .. import add_mobileinst_config
from ..modeling.postprocessing import build_postprocessing
from ..structures import to_instances

__all__ = ["ExportedModel", "Graphs", "read_config"]

Array = torch.Tensor | np.ndarray

# Runtimes that read the files of another.
_ALSO_RUN_BY = {"onnx": ("openvino",), "openvino": ("onnx",)}


class Graphs(Mapping[str, GraphRunner]):
    """The graphs of an exported folder, each loaded when it is first asked for.

    They are not tried before: the export has run each of them with its runtime.
    """

    def __init__(self, folder: Path, manifest: Manifest, runtime: str, num_threads: int) -> None:
        """Load nothing yet.

        Args:
            folder: the exported folder.
            manifest: its description.
            runtime: name in ``RUNNERS``.
            num_threads: CPU threads of the runtime.
        """
        self._folder = folder
        self._manifest = manifest
        self._runtime = runtime
        self._num_threads = num_threads
        self._loaded: dict[str, GraphRunner] = {}

    def __getitem__(self, name: str) -> GraphRunner:
        if name not in self._loaded:
            graph = self._manifest.graphs[name]
            self._loaded[name] = RUNNERS[self._runtime](self._folder, graph, self._num_threads)
        return self._loaded[name]

    def __iter__(self):
        return iter(self._manifest.graphs)

    def __len__(self) -> int:
        return len(self._manifest.graphs)


class ExportedModel:
    """An exported model, called as the PyTorch model that it was made from.

    ``keyframe`` and ``reuse`` are what ``mobileinst_d2.tracking`` takes, and a call predicts
    images as Detectron2's models do. Frames go through the runtime one by one.

    Attributes:
        manifest: what model.json says.
        graphs: a :class:`GraphRunner` for each graph, loaded on first use.
    """

    @configurable
    def __init__(
        self,
        *,
        folder: str | Path,
        manifest: Manifest,
        runtime: str,
        num_threads: int = 1,
        postprocessing: PostProcessing | None = None,
    ) -> None:
        """Open an exported folder; see :meth:`load` for the short way.

        Args:
            folder: made by tools/export.py.
            manifest: the content of its model.json.
            runtime: what to run it with.
            num_threads: CPU threads of the runtime.
            postprocessing: makes instances of the outputs for an image; None = the default.

        Raises:
            ExportError: the runtime is not installed, or the folder is for another one.
        """
        if runtime != manifest.runtime and runtime not in _ALSO_RUN_BY.get(manifest.runtime, ()):
            raise ExportError(
                f"{folder} was exported for {manifest.runtime}, not for {runtime}: export the "
                f"model again with --format {runtime}"
            )
        require_runtime(runtime)
        self.manifest = manifest
        self.graphs = Graphs(Path(folder), manifest, runtime, num_threads)
        self.postprocessing = postprocessing or PostProcessing()
        self.mask_stride = manifest.mask_stride
        self.mask_upsampling = manifest.mask_upsampling
        self._blank = blank_image(manifest.size, manifest.input["pad_value"])

    @classmethod
    def from_config(
        cls,
        cfg: CfgNode,
        folder: str | Path,
        runtime: str | None = None,
        num_threads: int = 1,
    ) -> dict:
        """Keyword arguments from the config of the folder, which may have been changed.

        Args:
            cfg: the folder's config.yaml, with other thresholds perhaps.
            folder: made by tools/export.py.
            runtime: what to run it with; None = what it was exported for.
            num_threads: CPU threads of the runtime.

        Returns:
            The keyword arguments.

        Raises:
            ExportError: the folder is damaged, or ``cfg`` describes another network than it.
        """
        manifest = read_manifest(folder)
        for key, value, exported in (
            ("MODEL.META_ARCHITECTURE", cfg.MODEL.META_ARCHITECTURE, manifest.meta_architecture),
            ("MODEL.NUM_CLASSES", cfg.MODEL.NUM_CLASSES, len(manifest.class_names)),
            ("INPUT.FORMAT", cfg.INPUT.FORMAT, manifest.input["channels"]),
            ("INPUT.FIXED_SIZE_TEST", tuple(cfg.INPUT.FIXED_SIZE_TEST), manifest.size),
        ):
            if value != exported:
                raise ExportError(f"{key} is {value}, but {folder} was exported with {exported}")
        return {
            "folder": folder,
            "manifest": manifest,
            "runtime": runtime or manifest.runtime,
            "num_threads": num_threads,
            "postprocessing": build_postprocessing(cfg),
        }

    @classmethod
    def load(
        cls,
        folder: str | Path,
        runtime: str | None = None,
        opts: Sequence[str] = (),
        num_threads: int = 1,
    ) -> "ExportedModel":
        """Open an exported folder with the thresholds that it was exported with.

        Args:
            folder: made by tools/export.py.
            runtime: what to run it with; None = what it was exported for.
            opts: config overrides KEY, VALUE, ..., such as other thresholds.
            num_threads: CPU threads of the runtime.

        Returns:
            The model.

        Raises:
            ExportError: the runtime is not installed, or the folder cannot be used.
        """
        return cls(read_config(folder, opts), folder, runtime=runtime, num_threads=num_threads)

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the input."""
        return self.manifest.size

    def keyframe(self, frames: Sequence[Array]) -> dict[str, np.ndarray]:
        """Everything about key frames that tracking needs.

        Args:
            frames: B images (3, h, w) in [0, 255], not larger than ``size``.

        Returns:
            ``kernels`` (B, N, D), ``scores`` (B, N, K) and ``mask_features`` (B, D, h, w).

        Raises:
            ExportError: a frame is too large, or the model was exported without this graph.
        """
        return self._run("keyframe", frames, ["kernels", "scores", "mask_features"])

    def reuse(self, frames: Sequence[Array]) -> np.ndarray:
        """Mask features of frames that reuse the kernels of a key frame.

        Args:
            frames: B images (3, h, w) in [0, 255], not larger than ``size``.

        Returns:
            (B, D, h, w).

        Raises:
            ExportError: a frame is too large, or the model was exported without this graph.
        """
        return self._run("reuse", frames, ["mask_features"])["mask_features"]

    def __call__(self, batched_inputs: list[dict]) -> list[dict]:
        """Predict images as Detectron2's models do.

        Args:
            batched_inputs: per image ``image`` (3, h, w) in [0, 255], not larger than ``size``,
                and ``height``, ``width`` of the original image (optional).

        Returns:
            One ``{"instances": Instances}`` per image, with masks of the original size.

        Raises:
            ExportError: an image is too large, or the model was exported without this graph.
        """
        results = []
        for item in batched_inputs:
            outputs = self._run("image", [item["image"]], ["scores", "mask_logits"])
            image_size = tuple(item["image"].shape[-2:])
            output_size = (item.get("height", image_size[0]), item.get("width", image_size[1]))
            detections = self.postprocessing.predict(
                outputs["scores"][0],
                outputs["mask_logits"][0],
                image_size=image_size,
                output_size=output_size,
                mask_stride=self.mask_stride,
                mask_upsampling=self.mask_upsampling,
            )
            results.append({"instances": to_instances(detections)})
        return results

    def _run(
        self, name: str, frames: Sequence[Array], needed: Sequence[str]
    ) -> dict[str, np.ndarray]:
        _check_outputs(self.manifest, name, needed)
        runner = self.graphs[name]
        results = [runner(pad_image(frame, self._blank)) for frame in frames]
        return {key: np.concatenate([x[key] for x in results]) for key in runner.outputs}


def read_config(folder: str | Path, opts: Sequence[str] = ()) -> CfgNode:
    """The config that an exported folder is used with.

    Args:
        folder: made by tools/export.py.
        opts: config overrides KEY, VALUE, ....

    Returns:
        The config, not frozen.

    Raises:
        ExportError: the folder is damaged, or the overrides fit no config.
    """
    read_manifest(folder)  # tells what is wrong with the folder better than its config
    cfg = get_cfg()
    add_mobileinst_config(cfg)
    path = Path(folder) / CONFIG_FILE
    try:
        cfg.merge_from_file(str(path))
        cfg.merge_from_list(list(opts))
    # yaml and yacs raise various types for various mistakes.
    except Exception as error:
        raise ExportError(f"{path} and the overrides give no config: {error}") from error
    return cfg


def _check_outputs(manifest: Manifest, name: str, needed: Sequence[str]) -> None:
    if name not in manifest.graphs:
        raise ExportError(
            f"the model was exported without the graph {name!r}; it has "
            f"{', '.join(manifest.graphs)}"
        )
    if missing := [output for output in needed if output not in manifest.graphs[name]["outputs"]]:
        raise ExportError(f"the graph {name!r} was exported without {', '.join(missing)}")
