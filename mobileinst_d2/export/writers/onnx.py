"""ONNX files, for ONNX Runtime."""

from pathlib import Path

import torch
from torch import nn

from mobileinst_core.runtime.runners import ExportError

from .base import Names, Tensors, Writer, Written

__all__ = ["ONNX", "write_onnx"]

# The first version whose operators include all that PyTorch's exporter writes.
_OPSET = 18


def write_onnx(
    module: nn.Module, inputs: Tensors, path: Path, input_names: Names, output_names: Names
) -> Written:
    """Write a graph with PyTorch's exporter, weights inside; see `Writer`.

    Raises:
        ExportError: the exporter refuses it.
    """
    try:
        torch.onnx.export(
            module,
            inputs,
            path,
            input_names=list(input_names),
            output_names=list(output_names),
            dynamo=True,
            opset_version=_OPSET,
            external_data=False,
            optimize=True,
            verbose=False,
        )
    # Of its errors only a base class outside the public modules is common.
    except Exception as error:
        raise ExportError(f"PyTorch cannot write {path.name}: {error}") from error
    return Written([path.name], input_names, output_names)


ONNX = Writer(write_onnx, {"onnx": "onnx", "onnxscript": "onnxscript"}, ".onnx")
