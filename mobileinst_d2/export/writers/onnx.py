"""ONNX files, for ONNX Runtime."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from mobileinst_core.runtime.runners import ExportError

from .base import Graph, Names, Tensors, Writer, Written, some_outputs

__all__ = ["ONNX", "write_onnx"]

# The first version whose operators include all that PyTorch's exporter writes for most networks.
_OPSET = 18
# Smaller weights, such as biases, save nothing.
_MIN_HALVED = 256


def write_onnx(
    module: nn.Module,
    inputs: Tensors,
    path: Path,
    input_names: Names,
    output_names: Names,
    half_weights: bool = False,
) -> Written:
    """Write a graph with PyTorch's exporter, weights inside; see `Writer`.

    Raises:
        ExportError: the exporter refuses it.
    """
    # A layer that needs a later version says so.
    opset = max(getattr(layer, "onnx_opset", _OPSET) for layer in module.modules())
    try:
        torch.onnx.export(
            module,
            inputs,
            path,
            input_names=list(input_names),
            output_names=list(output_names),
            dynamo=True,
            opset_version=opset,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    # Of its errors only a base class outside the public modules is common.
    except Exception as error:
        raise ExportError(f"PyTorch cannot write {path.name}: {error}") from error
    _drop_traces(path)
    if half_weights:
        _halve_weights(path)
    return Written([path.name], input_names, output_names)


def _drop_traces(path: Path) -> None:
    """Remove where each node comes from: calls with the paths of this machine, and half a megabyte.

    A folder is shipped with an app.
    """
    import onnx

    model = onnx.load(path)
    graph = model.graph
    described = [*graph.node, *graph.initializer, *graph.input, *graph.output, *graph.value_info]
    for part in [*described, graph, model, *model.functions]:
        part.ClearField("metadata_props")
    onnx.save(model, path)


def _halve_weights(path: Path) -> None:
    """Store large weights in half precision; a runtime casts them when it loads the file."""
    import onnx
    from onnx import numpy_helper

    model = onnx.load(path)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT or math.prod(tensor.dims) < _MIN_HALVED:
            continue
        name = tensor.name
        weights = numpy_helper.to_array(tensor).astype(np.float16)
        tensor.CopyFrom(numpy_helper.from_array(weights, f"{name}.half"))
        casts.append(
            onnx.helper.make_node("Cast", [tensor.name], [name], to=onnx.TensorProto.FLOAT)
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def share_onnx(folder: Path, graph: Graph, name: str, outputs: Names) -> tuple[Graph, Graph]:
    """Cut the file in two: what the outputs need, and the rest, fed by it; see `Writer`.

    Raises:
        ExportError: nothing is left for one of the two.
    """
    import onnx
    from onnx.utils import extract_model

    (file,) = graph["files"]
    nodes = list(onnx.load(folder / file).graph.node)
    inputs = [x["tensor"] for x in graph["inputs"].values()]
    first = [graph["outputs"][output]["tensor"] for output in outputs]
    last = [x["tensor"] for x in graph["outputs"].values() if x["tensor"] not in first]
    needed = _ancestors(nodes, first)
    variable = _descendants(nodes, inputs)
    produced = {tensor for number in needed for tensor in nodes[number].output}
    rest = [node for number, node in enumerate(nodes) if number not in needed]
    used = {tensor for node in rest for tensor in node.input} | set(last)
    # Constants are in both.
    passed = [x for x in [*inputs, *sorted(produced)] if x in used and x in variable]
    if not rest or not passed:
        raise ExportError(f"{file} cannot be cut behind {', '.join(outputs)}")
    files = [f"{name}.onnx", file]
    extra = [tensor for tensor in passed if tensor not in (*inputs, *first)]
    extract_model(folder / file, folder / files[0], inputs, [*first, *extra])
    part = folder / f"rest_of_{file}"
    extract_model(folder / file, part, passed, [tensor for tensor in last if tensor not in passed])
    part.replace(folder / file)
    return {**some_outputs(graph, outputs), "files": files[:1]}, {**graph, "files": files}


def _ancestors(nodes: Sequence[Any], tensors: Names) -> set[int]:
    """Numbers of the nodes, in topological order, that tensors depend on."""
    wanted, found = set(tensors), set()
    for number in reversed(range(len(nodes))):
        if wanted.intersection(nodes[number].output):
            found.add(number)
            wanted.update(nodes[number].input)
    return found


def _descendants(nodes: Sequence[Any], tensors: Names) -> set[str]:
    """Tensors that depend on others, and these."""
    found = set(tensors)
    for node in nodes:
        if found.intersection(node.input):
            found.update(node.output)
    return found


ONNX = Writer(write_onnx, {"onnx": "onnx", "onnxscript": "onnxscript"}, ".onnx", share_onnx)
