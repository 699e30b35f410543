import pytest
import torch
from public_checkpoints import our_name, topformer_backbone

from mobileinst_d2.modeling import TopFormer
from mobileinst_d2.modeling.backbone.topformer import TopFormerAttention

WIDTHS = {"tiny": (128, 208), "small": (192, 296), "base": (256, 384)}


def public_shapes(variant: str, *, sim: bool) -> dict[str, torch.Size]:
    """Of the public checkpoints, ADE20K's with the injections."""
    return {our_name(name): x.shape for name, x in topformer_backbone(variant, sim=sim).items()}


def shapes_of(model: TopFormer) -> dict[str, torch.Size]:
    return {name: x.shape for name, x in model.state_dict().items()}


@pytest.mark.parametrize("variant", ["tiny", "small", "base"])
def test_parameters_are_those_of_the_public_checkpoints(variant):
    model = TopFormer(variant=variant)
    assert shapes_of(model) == public_shapes(variant, sim=True)
    local_width, global_width = WIDTHS[variant]
    channels = [spec.channels for spec in model.output_shape().values()]
    assert channels == [local_width] * 3 + [global_width]
    # Those of classification are without injections.
    bare = TopFormer(variant=variant, out_features=("x6",))
    assert shapes_of(bare) == public_shapes(variant, sim=False)


def test_stochastic_depth_grows_linearly_to_the_last_block():
    blocks = TopFormer(variant="tiny", drop_path=0.3).trans.transformer_blocks
    assert [b.drop_path.probability for b in blocks] == pytest.approx([0.0, 0.1, 0.2, 0.3])


def test_attention_logits_are_not_scaled():
    num_heads, key_dim = 2, 16
    layer = TopFormerAttention(24, num_heads, "BN").eval()
    torch.nn.init.ones_(layer.proj[1].norm.weight)
    x = torch.randn(1, 24, 3, 4)

    def per_head(y):
        return y.flatten(2)[0].reshape(num_heads, -1, 12)

    q, k, v = (per_head(f(x)) for f in (layer.to_q, layer.to_k, layer.to_v))
    assert (q.shape[1], v.shape[1]) == (key_dim, 2 * key_dim)
    out = torch.zeros(num_heads, 2 * key_dim, 12)
    for head in range(num_heads):
        for i in range(12):
            weights = torch.stack([q[head, :, i] @ k[head, :, j] for j in range(12)]).softmax(0)
            out[head, :, i] = (v[head] * weights).sum(1)
    expected = layer.proj(out.reshape(1, -1, 3, 4))
    torch.testing.assert_close(layer(x), expected, atol=1e-5, rtol=1e-5)


def test_a_new_transformer_passes_on_the_attention_input():
    # Residual branches of the attention start at zero, as the public code initialises them.
    layer = TopFormerAttention(24, 2, "BN").eval()
    assert layer(torch.randn(1, 24, 3, 4)).abs().max() == 0
