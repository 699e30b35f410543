import math

import pytest
import torch

from mobileinst_d2.modeling.instance_decoder import IAMDecoder

CHANNELS, DIM, QUERIES = 10, 8, 3


def decoder(**options: object) -> IAMDecoder:
    options = {"num_queries": QUERIES, "dim": DIM, "num_convs": 2, "kernel_dim": 5, **options}
    return IAMDecoder(CHANNELS, num_classes=4, **options)


def naive_queries(model: IAMDecoder, x: torch.Tensor) -> torch.Tensor:
    """The collected features of one image, map by map, from the paper's formula."""
    features = model.convs(x)
    maps = model.iam_conv(features)[0]
    rows = []
    for query in range(QUERIES):
        parts = []
        for group in range(model.groups):
            logits = maps[group * QUERIES + query]
            if model.activation == "softmax":
                weights = logits.exp() / logits.exp().sum()
            else:
                weights = logits.sigmoid() / logits.sigmoid().sum()
            parts.append((weights * features[0]).sum((1, 2)))
        rows.append(torch.cat(parts))
    collected = torch.stack(rows)
    return collected if model.fc is None else model.fc(collected).relu()


@pytest.mark.parametrize("groups", [1, 2, 4, 8])
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_any_number_of_groups_collects_what_its_maps_light_up(groups, activation):
    model = decoder(groups=groups, activation=activation)
    torch.nn.init.normal_(model.iam_conv.weight)
    x = torch.randn(1, CHANNELS, 6, 7)
    queries = naive_queries(model, x)
    found = model(x)
    torch.testing.assert_close(found.class_logits[0], model.class_head(queries))
    torch.testing.assert_close(found.kernels[0], model.kernel_head(queries))
    torch.testing.assert_close(found.objectness_logits[0], model.objectness_head(queries)[:, 0])
    assert found.class_logits.shape == (1, QUERIES, 4)
    assert found.kernels.shape == (1, QUERIES, 5)


def test_maps_that_light_up_nothing_give_zero_and_no_division_by_it():
    model = decoder()
    torch.nn.init.constant_(model.iam_conv.bias, -80.0)
    torch.nn.init.zeros_(model.iam_conv.weight)
    found = model(torch.randn(2, CHANNELS, 4, 4))
    expected = model.class_head.bias.expand_as(found.class_logits)
    torch.testing.assert_close(found.class_logits, expected)


def test_weights_and_sums_over_large_maps_are_in_single_precision():
    """Half precision reaches 65504, and the sum of these activations is 90000."""
    model = decoder(num_convs=1)
    torch.nn.init.constant_(model.iam_conv.bias, 20.0)
    x = torch.randn(1, CHANNELS, 300, 300)
    expected = model(x)
    with torch.autocast("cpu", dtype=torch.float16):
        found = model(x)
    for value, wanted in zip(found, expected, strict=True):
        torch.testing.assert_close(value.float(), wanted, atol=2e-3, rtol=1e-2)


def test_it_starts_as_the_public_code():
    model = decoder(groups=4, dim=64, num_queries=100)
    for layer in (model.iam_conv, model.class_head):
        assert layer.weight.std().item() == pytest.approx(0.01, rel=0.1)
        assert layer.bias.tolist() == pytest.approx([-math.log(99)] * len(layer.bias))
    assert model.kernel_head.weight.std().item() == pytest.approx(0.01, rel=0.1)
    assert not model.kernel_head.bias.any()
