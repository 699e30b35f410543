import pytest
import torch
from torch import nn

from mobileinst_d2.modeling.layers import MultiHeadAttention


def as_torch_attention(layer: MultiHeadAttention) -> nn.MultiheadAttention:
    """PyTorch's own layer with the same weights."""
    projections = (layer.q_proj, layer.k_proj, layer.v_proj)
    reference = nn.MultiheadAttention(layer.out_proj.in_features, layer.num_heads, batch_first=True)
    reference.in_proj_weight.data = torch.cat([p.weight for p in projections])
    reference.in_proj_bias.data = torch.cat([p.bias for p in projections])
    reference.out_proj.load_state_dict(layer.out_proj.state_dict())
    return reference.eval()


@pytest.mark.parametrize("num_heads", [1, 4])
def test_attention_equals_pytorchs(num_heads):
    layer = MultiHeadAttention(32, num_heads).eval()
    for name, parameter in layer.named_parameters():
        if name.endswith("bias"):
            nn.init.normal_(parameter)
    query, key, value = torch.randn(2, 5, 32), torch.randn(2, 7, 32), torch.randn(2, 7, 32)
    expected, _ = as_torch_attention(layer)(query, key, value)
    torch.testing.assert_close(layer(query, key, value), expected, atol=1e-5, rtol=1e-5)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="width 10 is not divisible by 4 attention heads"):
        MultiHeadAttention(10, 4)
