"""An exported folder as a model, without PyTorch."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from mobileinst_core.detections import Detections
from mobileinst_core.masks.resize import bilinear_resize
from mobileinst_core.postprocessing import PostProcessing, mask_product
from mobileinst_core.prototype_masks import PrototypePostProcessing
from mobileinst_core.tracking.association import build_tracker
from mobileinst_core.tracking.keyframes import VideoNetwork
from mobileinst_core.tracking.offline import OfflineTracker
from mobileinst_core.tracking.online import OnlineTracker, scale_hysteresis
from mobileinst_core.video.preparation import FramePreparation, pad_image

from .manifest import Manifest, read_manifest
from .runners import RUNNERS, ExportError, GraphRunner, require_runtime
from .thresholds import override_thresholds

__all__ = ["ExportedModel", "fit_image"]

# Runtimes that read the files of another.
_ALSO_RUN_BY = {"onnx": ("openvino",), "openvino": ("onnx",)}


class ExportedModel:
    """A model in the graphs of an exported folder: it predicts images and tracks videos.

    All it needs is in the folder's model.json. Frames go through the runtime one by
    one.

    Attributes:
        manifest: what model.json says, with the thresholds that count.
        size: (H, W) of the input.
        postprocessing: chooses the results for images.
        prepare: resizes a frame (H, W, 3) in BGR to the network's image.
        stretches_images: images of any size are stretched to ``size`` on their way into a graph,
            and ``prepare`` leaves them as they are.
        mask_stride: input pixels per pixel of the mask logits.
        mask_upsampling: factor by which the mask logits are resized before the sigmoid.
        graphs: by name, each loaded when it is first asked for.
    """

    def __init__(
        self,
        folder: str | Path,
        manifest: Manifest,
        *,
        runtime: str | None = None,
        num_threads: int = 1,
    ) -> None:
        """Open an exported folder; see :meth:`load` for the short way.

        Args:
            folder: made by tools/export.py.
            manifest: the content of its model.json; thresholds may have been changed.
            runtime: what to run it with; None = what it was exported for.
            num_threads: CPU threads of the runtime.

        Raises:
            ExportError: the runtime is not installed, or the folder is for another one.
        """
        runtime = runtime or manifest.runtime
        if runtime != manifest.runtime and runtime not in _ALSO_RUN_BY.get(manifest.runtime, ()):
            raise ExportError(
                f"{folder} was exported for {manifest.runtime}, not for {runtime}: export the "
                f"model again with --format {runtime}"
            )
        require_runtime(runtime)
        self.manifest = manifest
        self.size = manifest.size
        self.postprocessing = _postprocessing(manifest)
        self.stretches_images = manifest.input["fit"] == "stretch"
        self.prepare = FramePreparation(
            fixed_size=None if self.stretches_images else manifest.size,
            channels=manifest.input["channels"],
        )
        self.mask_stride = manifest.mask_stride
        self.mask_upsampling = manifest.mask_upsampling
        self.graphs = _Graphs(Path(folder), manifest, runtime, num_threads)

    @classmethod
    def load(
        cls,
        folder: str | Path,
        runtime: str | None = None,
        opts: Sequence[str] = (),
        num_threads: int = 1,
    ) -> "ExportedModel":
        """Open an exported folder.

        Args:
            folder: made by tools/export.py.
            runtime: what to run it with; None = what it was exported for.
            opts: overrides KEY, VALUE, ... of thresholds by their config keys, such as
                TEST.TRACKING.CLIP_LEN, 3.
            num_threads: CPU threads of the runtime.

        Returns:
            The model, with the thresholds that it was exported with where they are not overridden.

        Raises:
            ExportError: the runtime is not installed, or the folder cannot be used.
            UserError: an override stands for no threshold, or has a value of another type.
        """
        manifest = read_manifest(folder)
        thresholds = override_thresholds(manifest.thresholds, opts)
        manifest = dataclasses.replace(manifest, thresholds=thresholds)
        return cls(folder, manifest, runtime=runtime, num_threads=num_threads)

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, in the order of their indices."""
        return self.manifest.class_names

    @property
    def category_ids(self) -> list[int]:
        """Their ids in the data set, in the same order."""
        return self.manifest.category_ids

    def predict(self, image: np.ndarray) -> Detections:
        """Predict an image.

        Args:
            image: (H, W, 3), uint8, BGR.

        Returns:
            The instances, best first, with masks of the image's size.

        Raises:
            ExportError: the model was exported without the graph for images.
        """
        return self.predict_prepared(self.prepare(image), image.shape[:2])

    def predict_prepared(self, image: np.ndarray, output_size: tuple[int, int]) -> Detections:
        """Predict an image that has been resized.

        Args:
            image: (3, h, w) in [0, 255], channels in order of the network, not larger than
                ``size`` unless it is stretched.
            output_size: (H, W) of the original image.

        Returns:
            The instances, best first, with masks of the original size.

        Raises:
            ExportError: the image is too large, or the model was exported without this graph.
        """
        if self.manifest.has_prototypes:
            names = ("scores", "boxes", "coefficients", "prototypes")
            outputs = self._run("image", [image], names)
            arrays = {name: value[0] for name, value in outputs.items()}
            return self.postprocessing.predict(**arrays, output_size=output_size)
        if "keyframe" in self.manifest.graphs:
            outputs = self.keyframe([image])
            mask_logits = mask_product(outputs["kernels"][0], outputs["mask_features"][0])
        else:
            outputs = self._run("image", [image], ("scores", "mask_logits"))
            mask_logits = outputs["mask_logits"][0]
        return self.postprocessing.predict(
            outputs["scores"][0],
            mask_logits,
            image_size=tuple(image.shape[-2:]),
            output_size=output_size,
            mask_stride=self.mask_stride,
            mask_upsampling=self.mask_upsampling,
        )

    def keyframe(self, frames: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        """Everything about key frames that tracking needs.

        Args:
            frames: B images (3, h, w) in [0, 255], not larger than ``size``.

        Returns:
            ``kernels`` (B, N, D), ``scores`` (B, N, K) and ``mask_features`` (B, D, h, w).

        Raises:
            ExportError: a frame is too large, or the model was exported without this graph.
        """
        return self._run("keyframe", frames, ("kernels", "scores", "mask_features"))

    def reuse(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        """Mask features of frames that reuse the kernels of a key frame.

        Args:
            frames: B images (3, h, w) in [0, 255], not larger than ``size``.

        Returns:
            (B, D, h, w).

        Raises:
            ExportError: a frame is too large, or the model was exported without this graph.
        """
        return self._run("reuse", frames, ("mask_features",))["mask_features"]

    def online_tracker(self, score_on: float | None = None) -> OnlineTracker:
        """Track live.

        Args:
            score_on: score from which tracks are shown, see
                :func:`~mobileinst_core.tracking.online.scale_hysteresis`; None = as exported.

        Returns:
            A tracker that takes frames (H, W, 3) in BGR of any size.

        Raises:
            ExportError: the model was exported without the graphs for videos.
            ValueError: a threshold is out of range.
        """
        tracking, streaming = (self.manifest.thresholds[x] for x in ("tracking", "streaming"))
        if score_on is not None:
            streaming = scale_hysteresis(streaming, score_on)
        names = ("score_on", "score_off", "max_lost", "max_instances", "scene_cut_threshold")
        return OnlineTracker(
            self._network(),
            prepare=self.prepare,
            clip_len=tracking["clip_len"],
            tracker=build_tracker(tracking["mode"]),
            postprocessing=self.postprocessing,
            **{name: streaming[name] for name in names},
        )

    def offline_tracker(self) -> OfflineTracker:
        """Track whole videos.

        Returns:
            A tracker that takes images as ``prepare`` makes them.

        Raises:
            ExportError: the model was exported without the graphs for videos.
            ValueError: a threshold is out of range.
        """
        tracking = self.manifest.thresholds["tracking"]
        names = ("clip_len", "labels_per_track")
        return OfflineTracker(
            self._network(),
            tracker=build_tracker(tracking["mode"]),
            postprocessing=self.postprocessing,
            **{name: tracking[name] for name in names},
        )

    def _network(self) -> VideoNetwork:
        self._require("keyframe", ())
        # Where every frame is a key frame, nothing is reused.
        if self.manifest.thresholds["tracking"]["clip_len"] > 1:
            self._require("reuse", ())
        return VideoNetwork(self.keyframe, self.reuse, self.mask_stride, self.mask_upsampling)

    def _run(
        self, name: str, frames: Sequence[np.ndarray], needed: Sequence[str]
    ) -> dict[str, np.ndarray]:
        self._require(name, needed)
        runner, pad_value = self.graphs[name], self.manifest.input["pad_value"]
        try:
            fit = {
                "pad_value": pad_value,
                "stretch": self.stretches_images,
                "dtype": runner.image_dtype,
            }
            batches = [fit_image(frame, self.size, **fit) for frame in frames]
        except ValueError as error:
            raise ExportError(f"{error}, the exported size is fixed") from error
        results = [runner(batch) for batch in batches]
        if len(results) == 1:  # live, where a copy of the mask features counts
            return {key: results[0][key] for key in needed}
        return {key: np.concatenate([x[key] for x in results]) for key in needed}

    def _require(self, name: str, outputs: Sequence[str]) -> None:
        graphs = self.manifest.graphs
        if name not in graphs:
            available = ", ".join(graphs)
            if available == "image":
                available += ", so it predicts single images and cannot track"
            elif available == "keyframe":
                available += ", which tracks with TEST.TRACKING.CLIP_LEN 1"
            raise ExportError(
                f"the model was exported without the graph {name!r}; it has {available}"
            )
        if missing := [output for output in outputs if output not in graphs[name]["outputs"]]:
            raise ExportError(f"the graph {name!r} was exported without {', '.join(missing)}")


def fit_image(
    image: np.ndarray,
    size: tuple[int, int],
    *,
    pad_value: Sequence[float],
    stretch: bool,
    dtype: type[np.generic] = np.float32,
) -> np.ndarray:
    """Put an image top left into a batch, or stretch it to the batch.

    It is stretched bilinearly and without rounding, with PyTorch's places of pixels: OpenCV's, of
    less digits, make a difference of a hundredth of a grey level.

    Args:
        image: (3, h, w), in [0, 255]; a tensor on the CPU will do.
        size: (H, W) of the batch.
        pad_value: of what the image does not fill, per channel.
        stretch: whether the image is stretched.
        dtype: what a graph takes; uint8 only has an effect if nothing has to be rounded.

    Returns:
        (1, 3, H, W), float32 or uint8.

    Raises:
        ValueError: the image is too large, and not stretched.
    """
    if not stretch:
        is_integer = dtype == np.uint8 and getattr(image, "dtype", None) == np.uint8
        return pad_image(image, size, pad_value, np.uint8 if is_integer else np.float32)
    channels = np.asarray(image, np.float32)
    return np.stack([bilinear_resize(channel, size) for channel in channels])[None]


class _Graphs(Mapping[str, GraphRunner]):
    """The graphs of a folder. The export has run each of them, so nothing is tried here."""

    def __init__(self, folder: Path, manifest: Manifest, runtime: str, num_threads: int) -> None:
        self._folder = folder
        self._graphs = manifest.graphs
        self._runtime = runtime
        self._num_threads = num_threads
        self._runners: dict[str, GraphRunner] = {}
        self._loaded: dict[Any, Any] = {}  # by all of them

    def __getitem__(self, name: str) -> GraphRunner:
        if name not in self._runners:
            runner, graph = RUNNERS[self._runtime], self._graphs[name]
            self._runners[name] = runner(self._folder, graph, self._num_threads, self._loaded)
        return self._runners[name]

    def __getstate__(self) -> dict[str, Any]:
        # What a runtime has loaded cannot be copied: a copy, in another process too, loads its own.
        return {**vars(self), "_runners": {}, "_loaded": {}}

    def __iter__(self):
        return iter(self._graphs)

    def __len__(self) -> int:
        return len(self._graphs)


def _postprocessing(manifest: Manifest) -> PostProcessing | PrototypePostProcessing:
    thresholds = manifest.thresholds
    shared = {
        "score_threshold": thresholds["score"],
        "mask_threshold": thresholds["mask"],
        "mask_rescore": thresholds["mask_rescore"],
        "max_detections": thresholds["max_detections"],
    }
    if not manifest.has_prototypes:
        return PostProcessing(**shared, procedure=thresholds.get("procedure", "sparseinst"))
    return PrototypePostProcessing(
        **shared,
        nms_threshold=thresholds["nms"]["threshold"],
    )
