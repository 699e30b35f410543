"""From a model to a folder that holds all its graphs, checked against PyTorch."""

import logging
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import nn

from mobileinst_core.runtime.manifest import (
    CONFIG_FILE,
    MANIFEST_FILE,
    Manifest,
    file_sizes,
    read_manifest,
    write_manifest,
)
from mobileinst_core.runtime.model import fit_image
from mobileinst_core.runtime.runners import ExportError

from ..utils.classes import category_ids, class_names
from .model import read_thresholds
from .quantize import INT8_RUNTIMES, Quantizer
from .verify import check_graph, sample_image
from .writers import WRITERS, export_module, require_writer, versions

__all__ = ["check_output_dir", "export_model"]

logger = logging.getLogger(__name__)


def export_model(
    model: nn.Module,
    cfg: CfgNode,
    size: tuple[int, int],
    runtime: str,
    output_dir: str | Path,
    *,
    graphs: Sequence[str] = (),
    overwrite: bool = False,
    half_weights: bool = False,
    calibration: Sequence[torch.Tensor] = (),
    held_out: Sequence[torch.Tensor] = (),
) -> Manifest:
    """Export the graphs of a model, run each and compare it with PyTorch.

    The folder appears whole at the end, or not at all.

    Args:
        model: a meta-architecture with ``export_graphs``, in evaluation mode, on the CPU.
        cfg: the config that it was built from.
        size: (H, W) of the input.
        runtime: name in ``WRITERS``.
        output_dir: the folder to make.
        graphs: names of those to export, see
            :meth:`~mobileinst_d2.modeling.InstanceSegmentor.export_graphs`; () = ``keyframe`` and
            ``reuse``, which serve images and videos, or ``image`` of a model that cannot track.
        overwrite: replace ``output_dir`` if it is an exported folder.
        half_weights: store weights in half precision, for half the space; see
            :func:`export_module`.
        calibration: typical images (3, h, w) in [0, 255], resized as in evaluation; with them the
            convolutions are quantised to int8.
        held_out: others of the kind, on which int8 is compared with PyTorch.

    Returns:
        The content of its model.json.

    Raises:
        ExportError: the model has no such graph; the runtime is not installed, cannot express a
            graph, crashes on it or gives something else than PyTorch; or it has no int8, or half
            precision is wanted with it; or ``output_dir`` exists.
        ValueError: the size does not suit the model.
    """
    require_writer(runtime)
    if len(calibration) and runtime not in INT8_RUNTIMES:
        raise ExportError(f"int8 is for {' and '.join(INT8_RUNTIMES)}, not for {runtime}")
    if len(calibration) and half_weights:
        raise ExportError("weights are stored in int8 or in half precision, not in both")
    check_output_dir(output_dir, overwrite=overwrite)
    modules = _choose_graphs(model.export_graphs(size), graphs)
    image_input = build_input(cfg, size, stretch=model.stretches_images)
    quantizer = None
    if len(calibration):
        require_writer("onnx")
        fit = {"pad_value": image_input["pad_value"], "stretch": model.stretches_images}
        quantizer = Quantizer(
            *([fit_image(frame, size, **fit) for frame in part] for part in (calibration, held_out))
        )
    precision = "int8" if quantizer else "fp16" if half_weights else "fp32"
    with _whole_folder(Path(output_dir)) as folder:
        exported = _export_graphs(runtime, modules, folder, quantizer, precision)
        if quantizer:
            image_input["dtype"] = quantizer.image_dtype
        manifest = build_manifest(cfg, model, runtime, image_input, exported, quantizer, precision)
        write_manifest(folder, manifest)
        deployed = build_deployed_config(cfg, () if model.stretches_images else size)
        (folder / CONFIG_FILE).write_text(deployed.dump(), encoding="utf-8")
    return manifest


def check_output_dir(output_dir: str | Path, *, overwrite: bool = False) -> None:
    """Find out before the work whether its result may be put there.

    Args:
        output_dir: the folder to make.
        overwrite: whether an exported folder may be replaced.

    Raises:
        ExportError: it exists and is not empty, unless it is an exported folder, with nothing else
            in it, that may be replaced.
    """
    path = Path(output_dir)
    if not path.exists():
        return
    if not path.is_dir():
        raise ExportError(f"the output {path} is a file, a folder is needed")
    found = {entry.name for entry in path.iterdir()}
    if not found:
        return
    try:
        own = {MANIFEST_FILE, CONFIG_FILE, *read_manifest(path).files}
    except ExportError as error:
        raise ExportError(
            f"the output {path} is not empty and no exported folder that could be replaced "
            f"({error}): name another one"
        ) from error
    if others := sorted(found - own):
        raise ExportError(
            f"the output {path} holds more than an exported model ({', '.join(others[:5])}): name "
            "another one"
        )
    if not overwrite:
        raise ExportError(f"the output {path} exists already; --overwrite replaces it")


def build_deployed_config(cfg: CfgNode, size: tuple[int, ...]) -> CfgNode:
    """The config to use with the folder, whose graphs hold the weights.

    ``size`` is the one to fit images into, () where they are stretched instead.
    """
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.FIXED_SIZE_TEST = tuple(size)
    cfg.MODEL.WEIGHTS = ""
    return cfg


def build_input(cfg: CfgNode, size: tuple[int, int], *, stretch: bool = False) -> dict[str, Any]:
    """Describe the image that every graph takes, as it is in the manifest.

    Its type is that of graphs in fp32.
    """
    mean = [float(x) for x in cfg.MODEL.PIXEL_MEAN]
    padded = (
        "keep the aspect ratio, fit into the shape, put top left, fill the right and the bottom "
        "with pad_value"
    )
    stretched = "stretch to the shape, bilinear with half-pixel centres, without rounding"
    return {
        "name": "image",
        "layout": "NCHW",
        "shape": [1, len(mean), *size],
        "dtype": "float32",
        "channels": cfg.INPUT.FORMAT,
        "range": [0, 255],
        "normalization": "inside",
        "mean": mean,
        "std": [float(x) for x in cfg.MODEL.PIXEL_STD],
        "pad_value": mean,
        "fit": "stretch" if stretch else "pad",
        "resize": stretched if stretch else padded,
    }


def build_manifest(
    cfg: CfgNode,
    model: nn.Module,
    runtime: str,
    image_input: dict[str, Any],
    graphs: dict[str, dict],
    quantizer: Quantizer | None,
    precision: str,
) -> Manifest:
    """Describe exported graphs.

    Args:
        cfg: the config of the model, with MODEL.WEIGHTS, beside which class names are looked up.
        model: tells what its mask logits mean.
        runtime: what the graphs are for.
        image_input: see :func:`build_input`.
        graphs: by name, as they are in the manifest.
        quantizer: what they were quantised with, or None.
        precision: of the weights in the files.

    Returns:
        The content of model.json.
    """
    quantization = quantizer and {
        "calibration_images": len(quantizer.images),
        "held_out_images": len(quantizer.held_out),
        "fp32_convolutions": quantizer.float_weights,
    }
    return Manifest(
        runtime=runtime,
        meta_architecture=cfg.MODEL.META_ARCHITECTURE,
        precision=precision,
        input=image_input,
        graphs=graphs,
        mask_stride=model.mask_stride,
        mask_upsampling=model.mask_upsampling,
        thresholds=read_thresholds(cfg),
        class_names=class_names(cfg),
        category_ids=category_ids(cfg),
        versions=versions(runtime),
        quantization=quantization,
    )


def _choose_graphs(modules: Mapping[str, nn.Module], names: Sequence[str]) -> dict[str, nn.Module]:
    """Those of the names; without names all that are needed for images and videos."""
    if unknown := sorted(set(names) - set(modules)):
        raise ExportError(
            f"the model has no graph {unknown[0]!r}; --graphs can be {', '.join(modules)}"
        )
    # All that `image` computes is in the graph of key frames.
    chosen = names or set(modules) - ({"image"} if "keyframe" in modules else set())
    return {name: module for name, module in modules.items() if name in chosen}


def _export_graphs(
    runtime: str,
    modules: Mapping[str, nn.Module],
    folder: Path,
    quantizer: Quantizer | None,
    precision: str,
) -> dict[str, dict]:
    """Write graphs, run them, compare them; their entries in the manifest.

    All that ``reuse`` computes is in the graph of key frames, so where there is one, its weights
    serve both.
    """
    writer = WRITERS[runtime]
    shares = "reuse" in modules and "keyframe" in modules
    graphs = {}
    for name, module in modules.items():
        if shares and name == "reuse":
            continue
        logger.info("Graph %s for %s ...", name, runtime)
        example, path = module.example_input(), folder / f"{name}{writer.suffix}"
        names = [module.input_name], module.output_names
        graphs[name] = export_module(
            runtime, module, example, path, *names, half_weights=precision == "fp16"
        )
        if quantizer:
            quantizer(folder, graphs[name])
        if writer.tune:
            writer.tune(folder, graphs[name])
    if shares:
        outputs = modules["reuse"].output_names
        part = writer.share(folder, graphs["keyframe"], "reuse", outputs)
        graphs["reuse"], graphs["keyframe"] = part
    accepted: dict[str, np.ndarray] = {}
    # That of key frames is the first, so that what it gives was judged with its instances.
    for name, graph in graphs.items():
        module = modules[name]
        # int8 on an image of the kind that it was calibrated for; a generated one has other ranges.
        image = (
            quantizer.compared[0] if quantizer else sample_image(module.example_input().shape[2:])
        )
        checked = check_graph(runtime, folder, graph, module, image, precision, accepted=accepted)
        accepted |= checked.outputs
        graph.update(checked.differences)
        differences = ", ".join(f"{k} {v:.2g}" for k, v in graph["max_difference"].items())
        logger.info("Graph %s: largest differences to PyTorch: %s.", name, differences)
        if quantizer and (found := quantizer.compare_masks(runtime, folder, graph, module)):
            graph["mask_agreement"] = found
        graph["files"] = file_sizes(folder, graph["files"])
    return graphs


@contextmanager
def _whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write to, which becomes ``path`` when the block ends without an error."""
    path = path.resolve()
    # In the same file system, so that it can be renamed. The name is chosen first and the folder
    # made inside of `try`, as an interruption may come between any two lines.
    place = next(parent for parent in path.parents if parent.exists())
    scratch = place / f".{path.name}.{uuid.uuid4().hex[:8]}"
    folder, replaced = scratch / "new", scratch / "replaced"
    try:
        folder.mkdir(parents=True)
        yield folder
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            if path.exists():
                path.rename(replaced)
            folder.rename(path)
        except BaseException:
            if replaced.exists() and not path.exists():
                replaced.rename(path)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
