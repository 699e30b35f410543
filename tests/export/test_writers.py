"""Any module is written for a runtime, or refused with a reason."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobileinst_core.runtime import runners
from mobileinst_d2.export import (
    RUNNERS,
    WRITERS,
    ExportError,
    export_module,
    require_runtime,
    require_writer,
)
from mobileinst_d2.export.guard import run_graph_guarded


class TwoInputs(nn.Module):
    def forward(self, a, b):
        return a + 2 * b, F.max_pool2d(a, 2, 2)


@pytest.mark.parametrize(
    ("runtime", "files"), [("onnx", ["net.onnx"]), ("ncnn", ["net.ncnn.param", "net.ncnn.bin"])]
)
def test_a_module_with_several_inputs_and_outputs(tmp_path, runtime, files):
    a, b = torch.rand(2, 1, 3, 8, 8)
    path = tmp_path / files[0]
    graph = export_module(runtime, TwoInputs().eval(), (a, b), path, ["a", "b"], ["sum", "pooled"])
    assert graph["files"] == files
    assert sorted(files) == sorted(file.name for file in tmp_path.iterdir())
    found = RUNNERS[runtime](tmp_path, graph)(a.numpy(), b.numpy())
    np.testing.assert_allclose(found["sum"], a + 2 * b, rtol=1e-5)
    np.testing.assert_allclose(found["pooled"], F.max_pool2d(a, 2, 2), rtol=1e-5)
    # Files do not say where they were made.
    for folder in (Path(__file__).parent, Path(torch.__file__).parent, tmp_path):
        assert str(folder).encode() not in path.read_bytes()


class TopK(nn.Module):
    def forward(self, x):
        return torch.topk(x.flatten(1), 3)[0]


def test_operators_that_ncnn_does_not_know_are_named(tmp_path):
    with pytest.raises(ExportError, match=r"no layer for torch\.topk"):
        export_module("ncnn", TopK().eval(), torch.rand(1, 3, 4, 4), tmp_path / "net.ncnn.param")


class Einsum(nn.Module):
    def forward(self, x):
        return torch.einsum("bqc,bchw->bqhw", x[:, 0, :5, :3], x)


def test_operators_that_ncnn_gets_wrong_are_found(tmp_path):
    image = torch.rand(1, 3, 8, 8)
    graph = export_module("ncnn", Einsum().eval(), image, tmp_path / "net.ncnn.param")
    with pytest.raises(ExportError):
        run_graph_guarded("ncnn", tmp_path, graph, {"image": image.numpy()})


class DataDependent(nn.Module):
    def forward(self, x):
        return x[x > 0.5].reshape(1, -1) if x.mean() > 0 else x.flatten(1)


def test_what_the_onnx_exporter_refuses_is_an_export_error(tmp_path):
    with pytest.raises(ExportError, match=r"net\.onnx"):
        export_module("onnx", DataDependent().eval(), torch.rand(1, 3, 4, 4), tmp_path / "net.onnx")


class Untraceable(nn.Module):
    def forward(self, x):
        if torch.jit.is_tracing():
            raise RuntimeError("not in a trace")
        return x


def test_what_cannot_be_traced_is_an_export_error(tmp_path):
    with pytest.raises(ExportError, match="cannot trace the graph net: not in a trace"):
        export_module("ncnn", Untraceable().eval(), torch.rand(1, 3), tmp_path / "net.ncnn.param")


def test_names_must_fit_the_module(tmp_path):
    path = tmp_path / "net.ncnn.param"
    with pytest.raises(ValueError, match="2 outputs, output_names has 1"):
        export_module("ncnn", TwoInputs().eval(), (*torch.rand(2, 1, 3, 8, 8),), path, ["a", "b"])
    with pytest.raises(ValueError, match="training mode"):
        export_module("ncnn", nn.BatchNorm2d(3), torch.rand(1, 3, 8, 8), path)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("kill -SEGV $$", r"crashed .SIGSEGV.*something of interest"),
        ("exit 245", r"exit status 245.*something of interest"),
        ("exit 0", r"wrote no \.ncnn\.param"),
    ],
)
def test_pnnx_that_fails_is_an_export_error(tmp_path, monkeypatch, code, message):
    program = tmp_path / "pnnx"
    program.write_text(f"#!/bin/sh\necho something of interest\n{code}\n")
    program.chmod(0o755)
    monkeypatch.setattr(pytest.importorskip("pnnx"), "EXEC_PATH", str(program))
    with pytest.raises(ExportError, match=rf"(?s)pnnx.*{message}"):
        export_module("ncnn", nn.ReLU().eval(), torch.rand(1, 2, 4, 4), tmp_path / "r.ncnn.param")


@pytest.mark.parametrize("runtime", WRITERS)
def test_a_missing_runtime_is_named_with_what_to_install(runtime, monkeypatch):
    monkeypatch.setattr(runners, "_is_installed", lambda module: False)
    packages = [*runners.PACKAGES[runtime].values(), *WRITERS[runtime].packages.values()]
    for require, missing in ((require_runtime, packages[:1]), (require_writer, packages)):
        message = rf'{", ".join(missing)}, not.*pip install "mobileinst_d2\[{runtime}\]"'
        with pytest.raises(ExportError, match=message):
            require(runtime)


def test_an_unknown_runtime_is_named():
    for require in (require_runtime, require_writer):
        with pytest.raises(ExportError, match=r"'tnn'; known are onnx, ncnn"):
            require("tnn")
