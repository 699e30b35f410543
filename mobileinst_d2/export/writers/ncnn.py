"""Files for ncnn."""

import logging
import re
import statistics
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import nn

from mobileinst_core.runtime.runners import ExportError

from ..guard import run_guarded, time_graphs_guarded
from .base import Graph, Names, Tensors, Writer, Written, some_outputs

__all__ = ["NCNN", "hint_layers", "tune_ncnn", "write_ncnn"]

logger = logging.getLogger(__name__)

_SUFFIX = ".ncnn.param"
# Bits of a layer's parameter 31: what it does not use of the options that the network is run with.
_NO_HALF_ARITHMETIC, _NO_HALF_STORAGE, _NO_SGEMM = 1, 2, 32
# The first convolutions have few input channels: as matrix products they are slow on x86.
_FIRST = 2
# The hint is written if it takes this much off the time: less is noise.
_HELPS = 0.97
_ROUNDS = 15


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
    kinds = {layer.kind for layer in _layers(path)}
    if unknown := sorted(kind for kind in kinds if not re.fullmatch(r"\w+", kind)):
        raise ExportError(f"ncnn has no layer for {', '.join(unknown)}, which {path.name} needs")


def share_ncnn(folder: Path, graph: Graph, name: str, outputs: Names) -> tuple[Graph, Graph]:
    """The same files: ncnn computes what is extracted; see `Writer`."""
    return some_outputs(graph, outputs), graph


def tune_ncnn(folder: Path, graph: Graph) -> None:
    """Write hints into the file of a graph; see `Writer`.

    In half precision, the normalisation of the image would add the mean's own rounding to all
    pixels, so it is in fp32; and depthwise 3x3 convolutions of stride 2 are wrong on ARM where rows
    have 2, 3, 6, 10, ... positions (ncnn 1.0.20261020), so their products are summed in fp32. The
    first convolutions are not computed as matrix products, if the whole graph takes less time then
    on this machine.
    """
    param, weights = graph["files"]
    path = folder / param
    hint_layers(path, _normalization(path), _NO_HALF_ARITHMETIC | _NO_HALF_STORAGE)
    halving = [x.name for x in _layers(path) if x.kind == "ConvolutionDepthWise" and x.halves()]
    hint_layers(path, halving, _NO_HALF_ARITHMETIC)
    hinted = folder / f"hinted_{param}"
    hinted.write_bytes(path.read_bytes())
    try:
        convolutions = [x.name for x in _layers(path) if x.kind == "Convolution"]
        hint_layers(hinted, convolutions[:_FIRST], _NO_SGEMM)
        graphs = {"plain": graph, "hinted": {**graph, "files": [hinted.name, weights]}}
        times = time_graphs_guarded("ncnn", folder, graphs, _ROUNDS)
        ratio = statistics.median(times["hinted"]) / statistics.median(times["plain"])
        logger.info("Without matrix products in the first convolutions: %.2f of the time.", ratio)
        if ratio <= _HELPS:
            hinted.replace(path)
    finally:
        hinted.unlink(missing_ok=True)


def hint_layers(path: Path, names: Collection[str], bits: int) -> None:
    """Set bits of the parameter 31 of layers in a .param file; other bits stay."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for number, line in enumerate(lines[2:], 2):
        words = line.split()
        if len(words) < 2 or words[1] not in names:
            continue
        value = bits
        for word in words:
            if word.startswith("31="):
                value |= int(word.removeprefix("31="))
        others = re.sub(r" 31=\d+", "", line)
        lines[number] = f"{others} 31={value}"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


class _Layer(NamedTuple):
    """A line of a .param file; parameters by their numbers."""

    kind: str
    name: str
    parameters: Mapping[str, str]

    def halves(self) -> bool:
        """Whether it is a 3x3 convolution of stride 2."""
        width, height = self.parameters.get("1"), self.parameters.get("11")
        return (width, height or width, self.parameters.get("3")) == ("3", "3", "2")


def _layers(path: Path) -> list[_Layer]:
    lines = path.read_text(encoding="utf-8").splitlines()[2:]
    layers = []
    for words in (line.split() for line in lines if line.strip()):
        parameters = dict(word.split("=", 1) for word in words[4:] if "=" in word)
        layers.append(_Layer(words[0], words[1], parameters))
    return layers


def _normalization(path: Path) -> list[str]:
    """Names of the layers before the first one with weights, which prepare the image."""
    names = []
    for layer in _layers(path):
        if layer.kind in ("Input", "MemoryData", "Split"):
            continue
        if layer.kind != "BinaryOp":
            break
        names.append(layer.name)
    return names


NCNN = Writer(write_ncnn, {"pnnx": "pnnx"}, _SUFFIX, share_ncnn, tune_ncnn)
