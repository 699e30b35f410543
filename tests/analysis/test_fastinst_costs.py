"""Costs of FastInst: the published ones, with what fvcore leaves out."""

import pytest
from detectron2.modeling import build_model

from mobileinst_d2.analysis import measure_cost
from mobileinst_d2.engine import setup_cfg


@pytest.mark.parametrize(
    ("name", "size", "params", "gmac"),
    [("r50_d1", (576, 576), 29_658_035, 38.876), ("r50_d3", (640, 640), 34_176_597, 60.914)],
)
def test_a_resnet_50_has_the_published_parameters_and_a_known_cost(name, size, params, gmac):
    """With the products of attention; FrozenBN is a multiply-add with gradients on, not counted."""
    model = build_model(setup_cfg(f"fastinst/fastinst_{name}_coco.yaml", ["MODEL.DEVICE", "cpu"]))
    cost = measure_cost(model, size)
    assert cost.params == params
    assert cost.macs / 1e9 == pytest.approx(gmac, abs=0.006)
    layers = {part: macs for part, macs, _ in cost.by_module}["decoder.layers"]
    # Pixels have 2 projections in their own attention, 2 in that of the queries, and an FFN.
    pixels, queries, dim, ffn = size[0] * size[1] // 64, 108, 256, 1024
    expected = pixels * (4 * dim * dim + 2 * dim * ffn + 2 * 2 * queries * dim)
    # Queries: 8 projections, an FFN, and the attention among them.
    expected += queries * (8 * dim * dim + 2 * dim * ffn + 2 * queries * dim)
    # Layer norms count 5 for each element.
    expected += 5 * dim * (2 * pixels + 3 * queries)
    assert layers == len(model.decoder.layers) * expected
