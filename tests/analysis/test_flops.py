"""Costs against known numbers: of the model, and of each of its parts."""

import logging

import torch
from single_module import Only
from tiny_models import FEW_LAYERS, build_tiny_model
from torch import nn

from mobileinst_d2.analysis import measure_cost
from mobileinst_d2.modeling.layers import MultiHeadAttention


def test_the_breakdown_names_all_parts_and_sums_to_the_total():
    cost = measure_cost(build_tiny_model(), (64, 128))
    names = [name for name, _, _ in cost.by_module]
    assert len(set(names)) == len(names)
    assert {"backbone.tpm", "mask_decoder.mask_branch", "instance_decoder.layers"} <= set(names)
    assert sum(macs for _, macs, _ in cost.by_module) == cost.macs
    assert sum(params for _, _, params in cost.by_module) == cost.params


class WrittenOutAttention(nn.Module):
    """The same attention with matrix products that every counter sees."""

    def __init__(self, attention: MultiHeadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        layer = self.attention
        query, key = tokens_of(images)
        q, k, v = (
            projection(x).unflatten(2, (layer.num_heads, -1)).transpose(1, 2)
            for projection, x in ((layer.q_proj, query), (layer.k_proj, key), (layer.v_proj, key))
        )
        weights = (torch.matmul(q, k.transpose(2, 3)) / q.shape[-1] ** 0.5).softmax(3)
        return layer.out_proj(torch.matmul(weights, v).transpose(1, 2).flatten(2))


class FusedAttention(nn.Module):
    def __init__(self, attention: MultiHeadAttention) -> None:
        super().__init__()
        self.attention = attention

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        query, key = tokens_of(images)
        return self.attention(query, key, key)


def tokens_of(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Queries (1, 3 W, 32) and keys (1, 2 H W, 32), made of an image without any cost."""
    column, whole = images[:, :, :1].flatten(1), images[:, :2].flatten(1)
    return tuple(x[..., None].expand(-1, -1, 32) for x in (column, whole))


def test_fused_attention_costs_what_its_matrix_products_cost():
    attention = MultiHeadAttention(32, 4).eval()
    fused, written = FusedAttention(attention), WrittenOutAttention(attention)
    images = torch.randn(1, 3, 4, 6)
    torch.testing.assert_close(fused(images), written(images), atol=1e-5, rtol=1e-5)
    costs = [measure_cost(Only(model), (4, 6)).macs for model in (fused, written)]
    assert costs[0] == costs[1]
    queries, keys, dim = 3 * 6, 2 * 4 * 6, 32
    assert costs[0] == 2 * queries * dim**2 + 2 * keys * dim**2 + 2 * queries * keys * dim


def test_measuring_leaves_the_model_and_the_log_as_they_were():
    model = build_tiny_model(**FEW_LAYERS)
    logger = logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    for training in (True, False):
        model.train(training)
        measure_cost(model, (64, 64))
        assert model.training == training
        assert all(m.training == training for m in model.modules())
    assert logger.level == level
