import torch
from random_weights import randomise
from torch import nn

from mobileinst_d2.modeling.layers import SemanticInjection


def hsigmoid(x: torch.Tensor) -> torch.Tensor:
    return (x + 3).clamp(0, 6) / 6


def conv_bn(branch: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """1x1 convolution and evaluation batch normalisation, written out."""
    x = torch.einsum("oc,bchw->bohw", branch.conv.weight[:, :, 0, 0], x)
    mean, var, weight, bias = (
        t.view(1, -1, 1, 1)
        for t in (
            branch.norm.running_mean,
            branch.norm.running_var,
            branch.norm.weight,
            branch.norm.bias,
        )
    )
    return (x - mean) / (var + branch.norm.eps).sqrt() * weight + bias


def test_the_global_feature_is_resized_after_the_gate():
    module = randomise(SemanticInjection(6, 10, 8)).eval()
    x_local, x_global = torch.randn(2, 6, 4, 6), torch.randn(2, 10, 2, 3) * 3

    def up(x):
        return nn.functional.interpolate(x, (4, 6), mode="bilinear", align_corners=False)

    gate = hsigmoid(conv_bn(module.global_act, x_global))
    expected = conv_bn(module.local_embedding, x_local) * up(gate)
    expected = expected + up(conv_bn(module.global_embedding, x_global))
    torch.testing.assert_close(module(x_local, x_global), expected, atol=1e-5, rtol=1e-5)
