import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mobileinst_d2.modeling.instance_decoder import DualTransformerInstanceDecoder
from mobileinst_d2.modeling.layers import sine_position
from mobileinst_d2.modeling.mask_decoder import MaskDecoderOutput

DIM, QUERIES, CLASSES = 16, 6, 3


SIZES = {"num_queries": QUERIES, "hidden_dim": DIM, "ffn_dim": 32, "kernel_dim": 8}
SIZES |= {"num_heads": 4, "local_pool_size": 2}


def new_decoder(**options: object) -> DualTransformerInstanceDecoder:
    """A small decoder."""
    return DualTransformerInstanceDecoder(
        global_channels=10, num_classes=CLASSES, **(SIZES | options)
    ).eval()


def decoder(**options: object) -> DualTransformerInstanceDecoder:
    """The same with random weights everywhere."""
    model = new_decoder(**options)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.4)
    return model


def memory(height: int = 8, width: int = 12) -> tuple[MaskDecoderOutput, torch.Tensor]:
    """Random maps: mask features at 1/8 and the global feature at 1/64."""
    fused, x_mask = torch.randn(2, 2, DIM, height, width)
    return MaskDecoderOutput(fused, x_mask, x_mask[:, :8]), torch.randn(2, 10, 2, 3)


def pytorch_attention(layer, query, key, value):
    """PyTorch's functional attention with the layer's weights, (B, N, C) in and out."""
    names = ("q_proj", "k_proj", "v_proj")
    out, _ = F.multi_head_attention_forward(
        *(x.transpose(0, 1) for x in (query, key, value)),
        DIM,
        layer.num_heads,
        None,
        torch.cat([getattr(layer, n).bias for n in names]),
        None,
        None,
        False,
        0.0,
        layer.out_proj.weight,
        layer.out_proj.bias,
        training=False,
        need_weights=False,
        use_separate_proj_weight=True,
        **{f"{n}_weight": getattr(layer, n).weight for n in names},
    )
    return out.transpose(0, 1)


POOLS = {"max": F.max_pool2d, "avg": F.avg_pool2d, "none": lambda x, _: x}


def reference_forward(model, mask_output, x_global, kinds, pool):
    """The decoder written out from the paper and the defaults of Mask2Former."""
    maps = {"global": model.global_projection(x_global)} if "global" in kinds else {}
    maps["local"] = POOLS[pool](mask_output.x_mask, 2)
    place = model.query_position.weight
    queries = model.queries.weight[None].repeat(2, 1, 1)
    for kind, layer in zip(kinds, model.layers, strict=True):
        x = maps[kind]
        tokens = x.flatten(2).transpose(1, 2)
        keys = tokens + sine_position(*x.shape[-2:], DIM)
        read = pytorch_attention(layer.cross_attention, queries + place, keys, tokens)
        queries = layer.cross_norm(queries + read)
        placed = queries + place
        among = pytorch_attention(layer.self_attention, placed, placed, queries)
        queries = layer.self_norm(queries + among)
    return model.ffn.norm(queries + model.ffn.linear2(F.relu(model.ffn.linear1(queries))))


@pytest.mark.parametrize(
    ("layers", "pool"),
    [
        (("global", "local"), "max"),
        (("local",), "avg"),
        (("global", "global", "local"), "none"),
        (("local", "global"), "max"),
    ],
)
def test_the_decoder_equals_its_description(layers, pool):
    model = decoder(layers=layers, local_pool=pool)
    mask_output, x_global = memory()
    queries = reference_forward(model, mask_output, x_global, layers, pool)

    out = model(mask_output, x_global)

    close = {"atol": 2e-4, "rtol": 1e-4}
    torch.testing.assert_close(out.queries, queries, **close)
    torch.testing.assert_close(out.class_logits, model.class_head(queries), **close)
    torch.testing.assert_close(
        out.objectness_logits, model.objectness_head(queries)[..., 0], **close
    )
    torch.testing.assert_close(out.kernels, model.kernel_head(queries), **close)


def test_queries_passed_within_a_frame_change_nothing():
    model = decoder()
    features = memory()
    out = model(*features)
    again = model.decode_passed(out.passing_queries, *features)
    for name in ("class_logits", "objectness_logits", "kernels", "queries"):
        torch.testing.assert_close(getattr(again, name), getattr(out, name))


def test_passed_queries_take_the_place_of_the_global_decoder():
    model = decoder()
    (mask_output, x_global), (_, other_global) = memory(), memory()
    passed = model(mask_output, other_global).passing_queries
    expected = model(mask_output, other_global)
    # The frame's own global feature is not read: all that is global comes with the queries.
    torch.testing.assert_close(
        model.decode_passed(passed, mask_output, x_global).kernels, expected.kernels
    )
    assert not torch.allclose(model(mask_output, x_global).kernels, expected.kernels)


@pytest.mark.parametrize("prior", [0.01, 0.2])
def test_classes_start_at_the_prior_probability(prior):
    bias = new_decoder(prior_prob=prior).class_head.bias
    torch.testing.assert_close(bias.sigmoid(), torch.full((CLASSES,), prior))
