"""Graphs that are not what their description says, and arrays that they do not take."""

import json

import numpy as np
import pytest
from small_network import SIZE

from mobileinst_core.runtime.runners import RUNNERS, ExportError


@pytest.fixture
def graph_of(exported):
    """The description of the graph for reused kernels, by runtime."""

    def read(runtime):
        return json.loads((exported(runtime) / "model.json").read_text())["graphs"]["reuse"]

    return read


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("tensor", "out7", "manifest names out7"),
        ("shape", [1, 15, 8, 16], r"manifest says mask_features \(1, 15, 8"),
    ],
)
def test_a_description_that_does_not_match_its_graph_is_told(
    exported, graph_of, key, value, message
):
    graph = graph_of("ncnn")
    graph["outputs"]["mask_features"][key] = value
    with pytest.raises(ExportError, match=message):
        RUNNERS["ncnn"](exported("ncnn"), graph)(np.zeros((1, 3, *SIZE), np.float32))


def test_onnx_names_are_compared_too(exported, graph_of, tmp_path):
    graph = graph_of("onnx")
    graph["outputs"]["mask_features"]["tensor"] = "other"
    with pytest.raises(ExportError, match=r"reuse\.onnx has the outputs mask_features"):
        RUNNERS["onnx"](exported("onnx"), graph)
    (tmp_path / "reuse.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match=r"reuse\.onnx cannot be loaded"):
        RUNNERS["onnx"](tmp_path, graph)
