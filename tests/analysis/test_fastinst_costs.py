"""Costs of FastInst: the published ones, with what fvcore leaves out."""

import pytest
from detectron2.modeling import build_model

from mobileinst_d2.analysis import measure_cost
from mobileinst_d2.engine import setup_cfg


def test_a_resnet_50_has_the_published_parameters_and_a_known_cost():
    """With the products of attention; FrozenBN is a multiply-add with gradients on, not counted."""
    models = [
        build_model(setup_cfg(f"fastinst/fastinst_{name}_coco.yaml", ["MODEL.DEVICE", "cpu"]))
        for name in ("r50_d1", "r50_d3")
    ]
    counts = [sum(p.numel() for p in model.parameters()) for model in models]
    assert counts == [29_658_035, 34_176_597]
    model, size = models[0], (576, 576)
    cost = measure_cost(model, size)
    assert cost.macs / 1e9 == pytest.approx(38.876, abs=0.006)
    layers = {part: macs for part, macs, _ in cost.by_module}["decoder.layers"]
    # Pixels have 2 projections in their own attention, 2 in that of the queries, and an FFN.
    pixels, queries, dim, ffn = size[0] * size[1] // 64, 108, 256, 1024
    expected = pixels * (4 * dim * dim + 2 * dim * ffn + 2 * 2 * queries * dim)
    # Queries: 8 projections, an FFN, and the attention among them.
    expected += queries * (8 * dim * dim + 2 * dim * ffn + 2 * queries * dim)
    # Layer norms count 5 for each element.
    expected += 5 * dim * (2 * pixels + 3 * queries)
    assert layers == len(model.decoder.layers) * expected
    # What fvcore counts of the public code is without one product of each layer, see below.
    masked_logits = len(model.decoder.layers) * pixels * queries * dim
    assert cost.macs / 1e9 == pytest.approx(38.73 + masked_logits / 1e9, abs=0.006)
