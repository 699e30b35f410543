"""Costs against known numbers: of the model, and of each of its parts."""

import logging

import torch
import torch.nn.functional as F
from single_module import Only
from tiny_models import FEW_LAYERS, build_tiny_model
from torch import nn

from mobileinst_d2.analysis import measure_cost


def test_the_breakdown_names_all_parts_and_sums_to_the_total():
    cost = measure_cost(build_tiny_model(), (64, 128))
    names = [name for name, _, _ in cost.by_module]
    assert len(set(names)) == len(names)
    assert {"backbone.tpm", "mask_decoder.mask_branch", "instance_decoder.layers"} <= set(names)
    assert sum(macs for _, macs, _ in cost.by_module) == cost.macs
    assert sum(params for _, _, params in cost.by_module) == cost.params


class FusedAttention(nn.Module):
    """Of queries (1, 3 W, 32) to keys (1, 2 H W, 32), made of an image without any cost."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        column, whole = images[:, :, :1].flatten(1), images[:, :2].flatten(1)
        query, key = (x[..., None].expand(-1, -1, 32) for x in (column, whole))
        return F.scaled_dot_product_attention(query, key, key)


def test_fused_attention_costs_what_its_matrix_products_cost():
    queries, keys, dim = 3 * 6, 2 * 4 * 6, 32
    model = Only(FusedAttention())
    model.module.unused = nn.Parameter(torch.zeros(1))  # says on which device it is
    assert measure_cost(model, (4, 6)).macs == 2 * queries * keys * dim


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
