"""Files for ncnn."""

import re
import tempfile
from pathlib import Path

import torch
from torch import nn

from mobileinst_core.runtime.runners import ExportError

from ..guard import run_guarded
from .base import Graph, Names, Tensors, Writer, Written, some_outputs

__all__ = ["NCNN", "write_ncnn"]

_SUFFIX = ".ncnn.param"


def write_ncnn(
    module: nn.Module,
    inputs: Tensors,
    path: Path,
    input_names: Names,
    output_names: Names,
    half_weights: bool = False,
) -> Written:
    """Write a graph by pnnx, from a trace; see `Writer`.

    Raises:
        ExportError: it cannot be traced, or pnnx or ncnn have no operator for a part of it.
    """
    import pnnx

    stem = path.name.removesuffix(_SUFFIX)
    with tempfile.TemporaryDirectory(prefix="mobileinst_pnnx_") as scratch:
        # pnnx makes the names of its files from this one, and replaces some letters.
        try:
            traced = torch.jit.trace(module, inputs, check_trace=False)
        except Exception as error:
            raise ExportError(f"PyTorch cannot trace the graph {stem}: {error}") from error
        traced.save(f"{scratch}/graph.pt")
        shapes = ",".join(f"[{','.join(map(str, x.shape))}]f32" for x in inputs)
        command = [pnnx.EXEC_PATH, "graph.pt", f"inputshape={shapes}", f"fp16={int(half_weights)}"]
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
    _check_layers(path.with_name(files[0]))
    return Written(
        files,
        [f"in{index}" for index in range(len(input_names))],
        [f"out{index}" for index in range(len(output_names))],
    )


def _check_layers(path: Path) -> None:
    """Refuse operators that pnnx left as they were, which ncnn does not know."""
    lines = path.read_text(encoding="utf-8").splitlines()[2:]
    kinds = {line.split()[0] for line in lines if line.strip()}
    if unknown := sorted(kind for kind in kinds if not re.fullmatch(r"\w+", kind)):
        raise ExportError(f"ncnn has no layer for {', '.join(unknown)}, which {path.name} needs")


def share_ncnn(folder: Path, graph: Graph, name: str, outputs: Names) -> tuple[Graph, Graph]:
    """The same files: ncnn computes what is extracted; see `Writer`."""
    return some_outputs(graph, outputs), graph


NCNN = Writer(write_ncnn, {"pnnx": "pnnx"}, _SUFFIX, share_ncnn)
