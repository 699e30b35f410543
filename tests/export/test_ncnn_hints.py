"""What is said in ncnn's files about how layers are computed."""

import numpy as np
import pytest
import torch
from torch import nn

from mobileinst_core.runtime.runners import NcnnRunner
from mobileinst_d2.export import export_module
from mobileinst_d2.export.guard import time_graphs_guarded
from mobileinst_d2.export.writers import ncnn as writer


def hints(path):
    """Parameter 31 by the name of the layer."""
    found = {}
    for line in path.read_text().splitlines()[2:]:
        words = line.split()
        found[words[1]] = int(next((x[3:] for x in words if x.startswith("31=")), 0))
    return found


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([100.0, 110.0, 120.0])[:, None, None])
        self.register_buffer("std", torch.tensor([50.0, 60.0, 70.0])[:, None, None])
        self.convs = nn.Sequential(*(nn.Conv2d(3 if i == 0 else 8, 8, 3) for i in range(3)))
        # Of these, ncnn's fp16 arithmetic on ARM gets the second wrong.
        self.depthwise = nn.Sequential(
            nn.Conv2d(8, 8, 3, groups=8),
            nn.Conv2d(8, 8, 3, stride=2, groups=8),
            nn.Conv2d(8, 8, 5, stride=2, groups=8),
        )

    def forward(self, image):
        return self.depthwise(self.convs((image - self.mean) / self.std))


@pytest.fixture
def network(tmp_path):
    """A folder, the graph in it, an image and what PyTorch gives for it."""
    torch.manual_seed(0)
    module, image = Network().eval(), 255 * torch.rand(1, 3, 32, 48)
    graph = export_module("ncnn", module, image, tmp_path / "x.ncnn.param")
    with torch.no_grad():
        return tmp_path, graph, image.numpy(), module(image).numpy()


@pytest.mark.parametrize(("hinted", "is_written"), [(0.9, True), (0.99, False), (1.2, False)])
def test_the_first_convolutions_are_hinted_where_it_helps(network, monkeypatch, hinted, is_written):
    folder, graph, image, expected = network
    asked = []

    def times(runtime, where, graphs, rounds):
        asked.append((runtime, where, rounds))
        found = {name: hints(folder / graph["files"][0]) for name, graph in graphs.items()}
        assert sorted(found["plain"].values()) == [0] * 8 + [1, 3, 3]
        assert sorted(found["hinted"].values()) == [0] * 6 + [1, 3, 3, 32, 32]
        return {"plain": [1.0, 1.0, 9.0], "hinted": [9.0, hinted, hinted]}

    monkeypatch.setattr(writer, "time_graphs_guarded", times)
    writer.tune_ncnn(folder, graph)
    assert len(asked) == 1
    path = folder / "x.ncnn.param"
    layers = [line.split()[:2] for line in path.read_text().splitlines()[2:]]
    convolutions = [hints(path)[name] for kind, name in layers if kind == "Convolution"]
    assert convolutions == ([32, 32, 0] if is_written else [0, 0, 0])
    depthwise = [hints(path)[name] for kind, name in layers if kind == "ConvolutionDepthWise"]
    assert depthwise == [0, 1, 0]
    # The mean and the standard deviation do not have half the digits.
    assert [hints(path)[name] for kind, name in layers if kind == "BinaryOp"] == [3, 3]
    assert sorted(x.name for x in folder.iterdir()) == ["x.ncnn.bin", "x.ncnn.param"]
    found = NcnnRunner(folder, graph)(image)["output"]
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def test_a_graph_that_cannot_be_timed_is_told(network):
    folder, graph, _, _ = network
    (folder / "x.ncnn.bin").write_bytes(b"")
    with pytest.raises(writer.ExportError, match=r"x\.ncnn\.param"):
        time_graphs_guarded("ncnn", folder, {"one": graph}, 1)
