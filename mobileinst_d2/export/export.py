"""From a model to a folder that holds all its graphs, checked against PyTorch."""

import logging
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from detectron2.config import CfgNode
from torch import nn

from ..modeling.postprocess import MASK_FEATURE_STRIDE
from ..utils.classes import category_ids, class_names
from .runners import ExportError
from .sidecar import CONFIG_FILE, SIDECAR_FILE, Sidecar, hash_files, read_sidecar, write_sidecar
from .verify import TOLERANCES, check_graph, test_picture
from .writers import RUNTIMES, export_module, require, versions

__all__ = ["check_output_dir", "export_model"]

logger = logging.getLogger(__name__)


def export_model(
    model: nn.Module,
    cfg: CfgNode,
    size: tuple[int, int],
    runtime: str,
    output_dir: str | Path,
    *,
    overwrite: bool = False,
) -> Sidecar:
    """Export every graph of a model, run each and compare it with PyTorch.

    The folder appears whole at the end, or not at all.

    Args:
        model: a meta-architecture with ``export_graphs``, in evaluation mode, on the CPU.
        cfg: the config that it was built from.
        size: (H, W) of the input.
        runtime: name in ``RUNTIMES``.
        output_dir: the folder to make.
        overwrite: replace ``output_dir`` if it is an exported folder.

    Returns:
        The content of its model.json.

    Raises:
        ExportError: the runtime is not installed, cannot express a graph, crashes on it or gives
            something else than PyTorch; or ``output_dir`` exists.
        ValueError: the size does not suit the model.
    """
    require(runtime, to_export=True)
    check_output_dir(output_dir, overwrite=overwrite)
    modules = model.export_graphs(size, **build_graph_options(cfg))
    with _whole_folder(Path(output_dir)) as folder:
        graphs = {}
        for number, (name, module) in enumerate(modules.items(), 1):
            logger.info("Graph %s (%d of %d) for %s ...", name, number, len(modules), runtime)
            start = time.perf_counter()
            graphs[name] = _export_graph(runtime, name, module, folder)
            logger.info(
                "Graph %s: %.1f s; largest differences to PyTorch: %s.",
                name,
                time.perf_counter() - start,
                ", ".join(f"{k} {v:.2g}" for k, v in graphs[name]["max_difference"].items()),
            )
        sidecar = build_sidecar(cfg, runtime, graphs)
        write_sidecar(folder, sidecar)
        deployed = build_deployed_config(cfg, size)
        (folder / CONFIG_FILE).write_text(deployed.dump(), encoding="utf-8")
    return sidecar


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
        own = {SIDECAR_FILE, CONFIG_FILE, *read_sidecar(path).files}
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


def build_graph_options(cfg: CfgNode) -> dict[str, bool]:
    """What ``export_graphs`` is told: whether the tracker needs the queries."""
    return {"queries": True} if cfg.TEST.TRACKING.ASSOCIATION_FEATURE == "query" else {}


def build_deployed_config(cfg: CfgNode, size: tuple[int, int]) -> CfgNode:
    """The config to use with the folder: the size is fixed, and the weights are in the graphs."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.INPUT.FIXED_SIZE_TEST = tuple(size)
    cfg.MODEL.WEIGHTS = cfg.MODEL.BACKBONE.WEIGHTS = ""
    return cfg


def build_sidecar(
    cfg: CfgNode, runtime: str, graphs: dict[str, dict], precision: str = "fp32"
) -> Sidecar:
    """Describe exported graphs.

    Args:
        cfg: the config of the model, with MODEL.WEIGHTS, beside which class names are sought.
        runtime: what the graphs are for.
        graphs: by name, as they stand in the sidecar.
        precision: "fp32" or "int8".

    Returns:
        The content of model.json.
    """
    image = next(iter(next(iter(graphs.values()))["inputs"].items()))
    mean = [float(x) for x in cfg.MODEL.PIXEL_MEAN]
    return Sidecar(
        runtime=runtime,
        meta_architecture=cfg.MODEL.META_ARCHITECTURE,
        precision=precision,
        input={
            "name": image[0],
            "layout": "NCHW",
            "shape": image[1]["shape"],
            "dtype": "float32",
            "channels": cfg.INPUT.FORMAT,
            "range": [0, 255],
            "normalization": "inside",
            "mean": mean,
            "std": [float(x) for x in cfg.MODEL.PIXEL_STD],
            "pad_value": mean,
            "resize": (
                "keep the aspect ratio, fit into the shape, put top left, fill the right and the "
                "bottom with pad_value"
            ),
        },
        graphs=graphs,
        mask_stride=MASK_FEATURE_STRIDE,
        thresholds={
            "score": cfg.TEST.SCORE_THRESHOLD,
            "mask": cfg.TEST.MASK_THRESHOLD,
            "mask_rescore": cfg.TEST.MASK_RESCORE,
            "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
            "tracking": {key.lower(): value for key, value in cfg.TEST.TRACKING.items()},
            "streaming": {key.lower(): value for key, value in cfg.TEST.STREAMING.items()},
        },
        class_names=class_names(cfg),
        category_ids=category_ids(cfg),
        versions=versions(runtime),
    )


def _export_graph(runtime: str, name: str, module: nn.Module, folder: Path) -> dict:
    """Write one graph, run it, compare it; its entry in the sidecar."""
    example = module.example_input()
    graph = export_module(
        runtime,
        module,
        example,
        folder / f"{name}{RUNTIMES[runtime].suffix}",
        [module.input_name],
        module.output_names,
    )
    picture = test_picture(example.shape)
    differences = check_graph(runtime, folder, graph, module, picture, TOLERANCES["fp32"])
    return {**graph, "files": hash_files(folder, graph["files"]), **differences}


@contextmanager
def _whole_folder(path: Path) -> Iterator[Path]:
    """A folder to write to, which becomes ``path`` when the block ends without an error."""
    path = path.resolve()
    # In the same file system, so that it can be renamed.
    place = next(parent for parent in path.parents if parent.exists())
    scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=place))
    folder, replaced = scratch / "new", scratch / "replaced"
    try:
        folder.mkdir()
        yield folder
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            path.rename(replaced)
        try:
            folder.rename(path)
        except BaseException:
            if replaced.exists():
                replaced.rename(path)
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
