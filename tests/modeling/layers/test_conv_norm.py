import pytest
import torch
from torch import nn

from mobileinst_d2.modeling.layers import ConvNorm, DropPath, conv3x3_norm


@pytest.mark.parametrize(("norm", "relu"), [("BN", True), ("BN", False), ("", True)])
@pytest.mark.parametrize("stride", [1, 2])
def test_a_separable_convolution_is_a_depthwise_and_a_pointwise_one(norm, relu, stride):
    whole, separable = (
        conv3x3_norm(6, 8, stride, separable=separable, norm=norm, relu=relu).eval()
        for separable in (False, True)
    )
    x = torch.randn(2, 6, 7, 10)
    assert whole(x).shape == separable(x).shape
    depthwise, pointwise = separable
    assert depthwise.conv.weight.shape == (6, 1, 3, 3)
    assert pointwise.conv.weight.shape == (8, 6, 1, 1)
    expected = nn.functional.conv2d(
        x, depthwise.conv.weight, depthwise.conv.bias, stride, padding=1, groups=6
    )
    expected = depthwise.norm(expected) if norm else expected
    expected = expected.relu() if relu else expected
    expected = nn.functional.conv2d(expected, pointwise.conv.weight, pointwise.conv.bias)
    expected = pointwise.norm(expected) if norm else expected
    torch.testing.assert_close(separable(x), expected.relu() if relu else expected)


def test_a_residual_branch_can_start_at_zero():
    block = ConvNorm(4, 4, norm_weight=0.0)
    assert block(torch.randn(2, 4, 5, 5)).abs().max() == 0


def test_drop_path_keeps_the_mean_and_drops_whole_samples():
    layer = DropPath(0.25)
    out = layer(torch.ones(20000, 2, 1, 1))
    assert torch.equal(out[:, 0], out[:, 1])
    assert out.unique().tolist() == pytest.approx([0.0, 1 / 0.75])
    assert out.mean().item() == pytest.approx(1.0, abs=0.02)


def test_drop_path_is_the_identity_in_evaluation():
    x = torch.randn(4, 3)
    assert torch.equal(DropPath(0.5).eval()(x), x)
    assert torch.equal(DropPath(0.0)(x), x)


@pytest.mark.parametrize(("groups", "std"), [(1, 0.0589), (64, 0.4714)])
def test_weights_start_at_the_scale_of_their_group(groups, std):
    """sqrt(2 / (9 * 64)), and sqrt(2 / 9) for a depthwise convolution."""
    torch.manual_seed(0)
    conv = ConvNorm(64, 64, 3, groups=groups).conv
    assert conv.weight.std().item() == pytest.approx(std, rel=0.1)
