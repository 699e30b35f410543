import pytest
import torch
from torch import nn

from mobileinst_d2.modeling.layers import BatchNorm2d


@pytest.mark.parametrize("shape", [(2, 3, 1, 1), (1, 3, 2, 1), (2, 3, 4, 5)])
def test_batch_norm_is_pytorchs_where_there_is_a_variance(shape):
    ours, reference = BatchNorm2d(3), nn.BatchNorm2d(3)
    x = torch.randn(shape)
    torch.testing.assert_close(ours(x), reference(x))
    torch.testing.assert_close(ours.state_dict(), reference.state_dict())


def test_batch_norm_of_a_single_value_uses_the_running_statistics():
    norm = BatchNorm2d(3)
    norm.running_mean.copy_(torch.tensor([1.0, 2.0, 3.0]))
    norm.running_var.fill_(4.0)
    before = {name: value.clone() for name, value in norm.state_dict().items()}
    x = torch.full((1, 3, 1, 1), 5.0)
    expected = ((5 - before["running_mean"]) / (4 + norm.eps) ** 0.5).view(1, 3, 1, 1)

    out = norm(x)

    torch.testing.assert_close(out, expected)
    torch.testing.assert_close(norm.state_dict(), before)
    out.sum().backward()
    assert norm.weight.grad.abs().min() > 0
