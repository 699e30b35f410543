"""Costs of FastInst: the published ones, with what fvcore leaves out."""

import pytest
import torch
from detectron2.modeling import build_model
from fvcore.nn import FlopCountAnalysis
from torch import nn

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


@pytest.mark.parametrize(("masked", "counted"), [(False, 2), (True, 1)])
def test_of_the_public_codes_attention_fvcore_leaves_out_the_masked_logits_alone(masked, counted):
    """PyTorch's layer gives weights unless it is told not to, which keeps it from fused attention.

    Its logits are a ``bmm``, which fvcore counts, or with a mask a ``baddbmm``, which it does not.
    """
    queries, pixels, dim = 12, 40, 16
    attention = nn.MultiheadAttention(dim, 4).eval()
    mask = torch.zeros(4, queries, pixels, dtype=torch.bool) if masked else None
    x, y = torch.randn(queries, 1, dim), torch.randn(pixels, 1, dim)

    class Call(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = attention

        def forward(self, query, key, value):
            return self.attention(query, key, value, attn_mask=mask)[0]

    with torch.no_grad():
        analysis = FlopCountAnalysis(Call(), (x, y, y + 1)).unsupported_ops_warnings(False)
    projections = 2 * (queries + pixels) * dim * dim
    assert analysis.total() == projections + counted * queries * pixels * dim
