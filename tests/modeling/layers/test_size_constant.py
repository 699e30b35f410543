import pytest
import torch
from torch import nn

from mobileinst_d2.modeling.layers import SizeConstant, fix_size_constants


class Ramp(SizeConstant):
    """0, 1, 2, ... as long as the input, times a parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))

    def compute(self, x: torch.Tensor) -> torch.Tensor:
        return self.scale * torch.arange(len(x))


def test_a_free_layer_follows_the_size_and_its_parameters():
    layer = Ramp()
    assert layer(torch.zeros(3)).tolist() == [0, 2, 4]
    layer.scale.data.fill_(3.0)
    assert layer(torch.zeros(2)).tolist() == [0, 3]
    assert layer(torch.zeros(2)).requires_grad


def test_a_fixed_layer_has_a_buffer_outside_of_the_weights():
    network = nn.Sequential(Ramp())
    fix_size_constants(network, lambda: network(torch.zeros(3)))
    assert network[0].fixed.tolist() == [0, 2, 4]
    assert not network[0].fixed.requires_grad
    assert torch.equal(network(torch.ones(3)), network[0].fixed)
    assert list(network.state_dict()) == ["0.scale"]
    assert not network[0]._forward_hooks


def test_hooks_are_gone_if_the_network_fails():
    layer = Ramp()
    with pytest.raises(ZeroDivisionError):
        fix_size_constants(layer, lambda: 1 / 0)
    assert not layer._forward_hooks
