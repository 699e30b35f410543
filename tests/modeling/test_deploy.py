import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobileinst_d2.modeling.deploy import build_export_graphs
from mobileinst_d2.modeling.layers import SinePosition

PARTS = {
    "sum": (lambda network, x: network.compute(x), ("sum",)),
    "both": (lambda network, x: network.compute(x), ("map", "sum")),
}


class Network(nn.Module):
    """A convolution, with positions added to the result."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.position = SinePosition()
        self.register_buffer("pixel_mean", torch.tensor([10.0, 20.0, 30.0]).view(3, 1, 1))
        self.register_buffer("pixel_std", torch.tensor([2.0, 4.0, 8.0]).view(3, 1, 1))

    def compute(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.norm(self.conv(x))
        tokens = x.flatten(2).transpose(1, 2) + self.position(x)
        x = tokens.transpose(1, 2).unflatten(2, x.shape[-2:])
        x = F.interpolate(x, size=(2 * x.shape[2], 2 * x.shape[3]), mode="nearest")
        return {"map": x, "sum": x.sum(1)}


@pytest.fixture
def network():
    return Network().eval()


def test_the_example_is_an_image_and_always_the_same(network):
    graph = build_export_graphs(network, PARTS, (64, 32), 32)["sum"]
    image = graph.example_input()
    assert graph.input_name == "image"
    assert (image.shape, image.dtype) == ((1, 3, 64, 32), torch.float32)
    assert 0 <= image.min() < 5
    assert 250 < image.max() <= 255
    assert torch.equal(image, graph.example_input())


def test_the_model_stays_as_it_is(network):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    graph = build_export_graphs(network, PARTS, (16, 24), 8)["both"]
    assert network.position.fixed is None
    assert network.state_dict().keys() == before.keys()
    network.train()
    image = torch.rand(1, 3, 32, 32)  # another size
    network.compute(image)["sum"].sum().backward()
    assert network.conv.weight.grad is not None
    assert not any(parameter.requires_grad for parameter in graph.parameters())
    assert not graph.training
    assert torch.equal(graph.network.norm.running_mean, before["norm.running_mean"])


@pytest.mark.parametrize("shape", [(1, 3, 24, 16), (2, 3, 16, 24), (3, 16, 24)])
def test_images_of_another_shape_are_refused(network, shape):
    graph = build_export_graphs(network, PARTS, (16, 24), 8)["sum"]
    with pytest.raises(ValueError, match=r"shape .* made for \(1, 3, 16, 24\)") as error:
        graph(torch.zeros(shape))
    assert str(shape) in str(error.value)


def test_a_model_in_training_is_refused(network):
    with pytest.raises(RuntimeError, match=r"training mode: call model\.eval"):
        build_export_graphs(network.train(), PARTS, (16, 24), 8)


@pytest.mark.parametrize("size", [(16, 20), (0, 16), (-8, 8), (16.5, 16), (16,), (8, 8, 8)])
def test_sizes_that_cannot_be_are_refused(network, size):
    with pytest.raises(ValueError, match=r"exported graphs is .* multiples of 8") as error:
        build_export_graphs(network, PARTS, size, 8)
    assert str(size) in str(error.value)
