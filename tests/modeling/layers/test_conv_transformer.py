import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobileinst_d2.modeling.layers import ConvTransformer, attend_by_head


@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_attention_by_head_equals_pytorchs(scale):
    q, k, v = torch.randn(2, 12, 5), torch.randn(2, 12, 7), torch.randn(2, 24, 7)
    heads = [x.reshape(2, 3, -1, x.shape[2]).transpose(2, 3) for x in (q, k, v)]
    expected = F.scaled_dot_product_attention(*heads, scale=scale)
    out = attend_by_head(q, k, v, 3, scale=scale)
    torch.testing.assert_close(out, expected.transpose(2, 3).reshape(2, 24, 5))


def test_blocks_add_attention_and_then_the_feed_forward_part():
    stack = ConvTransformer(
        lambda: nn.Conv2d(6, 6, 1), depth=2, dim=6, mlp_ratio=3, drop_path=0.5, norm="BN"
    ).eval()
    x = torch.randn(2, 6, 4, 5)
    expected = x
    for block in stack.transformer_blocks:
        assert block.mlp.dwconv.weight.shape == (18, 1, 3, 3)
        expected = expected + block.attn(expected)
        hidden = block.mlp.dwconv(block.mlp.fc1(expected)).clamp(0, 6)
        expected = expected + block.mlp.fc2(hidden)
    torch.testing.assert_close(stack(x), expected)


def test_a_single_block_is_never_dropped():
    # The rates grow from 0, at the first block, to the given one.
    stack = ConvTransformer(nn.Identity, depth=1, dim=6, mlp_ratio=2, drop_path=0.5)
    assert [block.drop_path.probability for block in stack.transformer_blocks] == [0.0]
