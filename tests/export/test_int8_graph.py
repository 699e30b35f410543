"""What of a graph becomes integers: additions of feature maps do, those of queries do not."""

import copy
import shutil

import numpy as np
import onnx
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobileinst_core.runtime.runners import OnnxRunner
from mobileinst_d2.export import export_module
from mobileinst_d2.export.int8_graph import centre_pixels, convolution_weights, integer_nodes
from mobileinst_d2.export.quantize import Quantizer

IMAGES = [
    255 * torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
    for seed in range(3)
]


class Block(nn.Module):
    """A stem, a residual connection with an upsampled map, and a linear layer with a residual."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.tensor([123.675, 116.28, 103.53]).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor([58.395, 57.12, 57.375]).view(-1, 1, 1))
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.inner = nn.Conv2d(16, 16, 3, stride=2, padding=1)
        self.last = nn.Conv2d(16, 4, 1)
        self.linear = nn.Linear(4, 4)

    def forward(self, image):
        x = self.stem((image - self.mean) / self.std).relu()
        up = F.interpolate(self.inner(x), scale_factor=2, mode="bilinear")
        tokens = self.last((x + up).relu()).flatten(2).transpose(1, 2)
        return tokens + self.linear(tokens)


@pytest.fixture(scope="module")
def block():
    torch.manual_seed(0)
    return Block().eval()


@pytest.fixture(scope="module")
def exported(block, tmp_path_factory):
    folder = tmp_path_factory.mktemp("block")
    return folder, export_module("onnx", block, IMAGES[0], folder / "net.onnx")


@pytest.fixture
def graph(exported, tmp_path):
    """The graph in a file that may be changed."""
    folder, graph = exported
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    return copy.deepcopy(graph)


def quantised(tmp_path, graph, float_weights):
    quantizer = Quantizer([image.numpy() for image in IMAGES])
    quantizer.float_weights = float_weights
    quantizer(tmp_path, graph)
    return onnx.load(tmp_path / "net.onnx").graph


def integer_kinds(found):
    """Kinds of the nodes whose inputs all are dequantised and whose output is quantised."""
    made = {output: node.op_type for node in found.node for output in node.output}
    rounded = {node.input[0] for node in found.node if node.op_type == "QuantizeLinear"}
    return sorted(
        node.op_type
        for node in found.node
        if node.output[0] in rounded
        and {made.get(name) for name in node.input if name in made} == {"DequantizeLinear"}
    )


def test_additions_of_maps_are_of_integers_and_others_are_not(block, graph, tmp_path):
    found = quantised(tmp_path, graph, [])
    assert integer_kinds(found) == ["Add", "Conv", "Conv", "Conv", "Resize"]
    # Its rectifier is in the range of the sum; the tokens' addition and the linear layer's stay.
    kinds = [node.op_type for node in found.node]
    assert "Relu" not in kinds
    assert kinds.count("Add") + kinds.count("Gemm") == 3
    image = IMAGES[1]
    with torch.no_grad():
        expected = block(image).numpy()
    difference = np.abs(OnnxRunner(tmp_path, graph)(image.numpy())["output"] - expected).max()
    assert 0 < difference < 0.05 * np.abs(expected).max()


def test_pixels_are_read_as_integers(graph, tmp_path):
    found = quantised(tmp_path, graph, [])
    assert found.input[0].type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert [node.op_type for node in found.node if "image" in node.input] == ["Pad"]
    assert not {"Sub", "Div"} & {node.op_type for node in found.node}
    runner = OnnxRunner(tmp_path, graph)
    assert runner.image_dtype == np.uint8
    pixels = IMAGES[0].numpy().round()
    rounded = runner(pixels + np.float32(0.4))["output"]
    assert np.array_equal(rounded, runner(pixels.astype(np.uint8))["output"])
    assert not np.array_equal(rounded, runner(pixels.astype(np.uint8) // 2)["output"])


def test_a_first_convolution_in_fp32_keeps_its_normalisation(graph, tmp_path):
    model = onnx.load(tmp_path / "net.onnx")
    before = model.SerializeToString()
    assert centre_pixels(model, integer_nodes(model, ["stem.weight"])) == {}
    assert model.SerializeToString() == before
    found = quantised(tmp_path, graph, ["stem.weight"])
    kinds = [node.op_type for node in found.node]
    # Nor are additions to its map of integers.
    assert integer_kinds(found) == ["Conv", "Conv", "Resize"]
    assert kinds.count("Relu") == 2
    assert {"Sub", "Div"} <= set(kinds)
    assert "Pad" not in kinds


@pytest.mark.parametrize(
    ("kernel", "stride", "padding", "side", "channels"),
    [(7, 2, 3, 32, 16), (2, 2, 0, 32, 16), (3, 2, 1, 33, 4)],
)
def test_any_first_convolution_stays_what_it_is(kernel, stride, padding, side, channels, tmp_path):
    torch.manual_seed(1)
    block = Block().eval()
    stem = block.stem = nn.Conv2d(3, 16, kernel, stride, padding)
    block.forward = lambda image: stem((image - block.mean) / block.std).relu()
    image = 255 * torch.rand(1, 3, side, side)
    graph = export_module("onnx", block, image, tmp_path / "net.onnx")
    model = onnx.load(tmp_path / "net.onnx")
    ((values,),) = centre_pixels(model, integer_nodes(model, [])).values()
    assert (values["scale"], values["zero_point"]) == (1, 114)
    onnx.checker.check_model(model, full_check=True)
    assert "Div" not in {node.op_type for node in model.graph.node}
    (weight,) = convolution_weights(model)
    assert {x.name: x.dims[1] for x in model.graph.initializer if x.name == weight} == {
        weight: channels
    }
    onnx.save(model, tmp_path / "net.onnx")
    # At the border too, where the convolution pads normalised values with zeros.
    found = OnnxRunner(tmp_path, graph)(image.numpy())["output"]
    np.testing.assert_allclose(found, block(image).detach().numpy(), atol=1e-5)
