import pytest
import torch
from torch import nn

from mobileinst_d2.modeling.layers import (
    ConvNorm,
    DropPath,
    InvertedResidual,
    conv3x3_norm,
    inverted_residuals,
)


@pytest.mark.parametrize(("norm", "has_bias"), [("BN", False), ("", True)])
def test_a_convolution_has_a_bias_only_without_a_normalisation(norm, has_bias):
    block = ConvNorm(4, 8, 3, norm=norm)
    assert (block.conv.bias is not None) == has_bias
    assert (block.norm is None) == has_bias


def test_the_relu_of_a_block_is_optional():
    x = torch.randn(1, 4, 5, 6)
    torch.manual_seed(1)
    plain = ConvNorm(4, 8, norm="")
    torch.manual_seed(1)
    rectified = ConvNorm(4, 8, norm="", relu=True)
    assert plain(x).min() < 0
    torch.testing.assert_close(rectified(x), plain(x).clamp(min=0))


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


def test_depthwise_convolutions_keep_the_variance():
    x = torch.randn(1, 64, 32, 32)
    depthwise = ConvNorm(64, 64, 3, groups=64, norm="")
    # A ReLU network's weights double the variance.
    assert depthwise(x).var().item() == pytest.approx(2.0, rel=0.3)


@pytest.mark.parametrize("kernel_size", [1, 3, 5])
@pytest.mark.parametrize(("stride", "size"), [(1, (7, 10)), (2, (4, 5))])
def test_padding_keeps_the_size_up_to_the_stride(kernel_size, stride, size):
    x = torch.randn(1, 4, 7, 10)
    assert ConvNorm(4, 6, kernel_size, stride).eval()(x).shape[-2:] == size


def test_a_residual_branch_can_start_at_zero():
    block = ConvNorm(4, 4, norm_weight=0.0)
    assert block(torch.randn(2, 4, 5, 5)).abs().max() == 0


@pytest.mark.parametrize(
    ("stride", "out_channels", "residual"), [(1, 8, True), (1, 12, False), (2, 8, False)]
)
def test_the_input_is_added_where_shapes_allow(stride, out_channels, residual):
    block = InvertedResidual(8, out_channels, kernel_size=3, stride=stride, expansion=2).eval()
    nn.init.zeros_(block.conv[-1].norm.weight)
    x = torch.randn(1, 8, 6, 6)
    out = block(x)
    assert torch.equal(out, x) if residual else out.abs().max() == 0


def test_an_expansion_of_one_has_no_expanding_convolution():
    layers = [InvertedResidual(8, 8, kernel_size=3, stride=1, expansion=t).conv for t in (1, 2)]
    assert [sum(isinstance(m, ConvNorm) for m in layer) for layer in layers] == [2, 3]


def test_a_chain_of_inverted_residuals_is_numbered_from_one():
    layers = inverted_residuals(8, ((3, 1, 8, 1), (5, 4, 12, 2), (3, 2, 12, 1)))
    assert list(layers) == ["layer1", "layer2", "layer3"]
    assert [layer.residual for layer in layers.values()] == [True, False, True]
    out = nn.Sequential(layers)(torch.randn(1, 8, 6, 10))
    assert out.shape == (1, 12, 3, 5)
    assert layers["layer2"].conv[2].conv.weight.shape == (32, 1, 5, 5)


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


@pytest.mark.parametrize("probability", [1.0, -0.1])
def test_drop_path_cannot_drop_everything(probability):
    with pytest.raises(ValueError, match=rf"probability.*\[0, 1\), got {probability}"):
        DropPath(probability)


@pytest.mark.parametrize(("groups", "std"), [(1, 0.0589), (64, 0.4714)])
def test_weights_start_at_the_scale_of_their_group(groups, std):
    """sqrt(2 / (9 * 64)), and sqrt(2 / 9) for a depthwise convolution."""
    torch.manual_seed(0)
    conv = ConvNorm(64, 64, 3, groups=groups).conv
    assert conv.weight.std().item() == pytest.approx(std, rel=0.1)
