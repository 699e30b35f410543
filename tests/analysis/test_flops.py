"""Costs against known numbers: of the model, and of each of its parts."""

import functools
import logging

import pytest
import torch
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from single_module import Only
from tiny_models import build_tiny_model
from torch import nn

from mobileinst_d2 import add_mobileinst_config
from mobileinst_d2.analysis import ModelCost, measure_cost
from mobileinst_d2.modeling.layers import MultiHeadAttention

# The largest test image, 640x864, padded to a multiple of 64.
PAPER_SIZE = (640, 896)
MODEL = "MODEL.MOBILEINST"
DECODER, MASKS = f"{MODEL}.INSTANCE_DECODER", f"{MODEL}.MASK_DECODER"
NO_ENHANCER = (f"{MASKS}.ENHANCERS", ())


@functools.cache
def cost_of(*overrides: object) -> ModelCost:
    """Cost of the default model with some keys changed: name, value, name, value, ..."""
    cfg = get_cfg()
    add_mobileinst_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "MobileInst"
    cfg.MODEL.BACKBONE.NAME = "TopFormer"
    cfg.merge_from_list(overrides)
    return measure_cost(build_model(cfg), PAPER_SIZE)


def giga(cost: ModelCost) -> float:
    return cost.macs / 1e9


# A design that the paper's numbers cannot tell from the default, if they count the masks at full
# resolution, which costs 0.2294 G instead of the 0.0143 G of twice the size.
FULL_RESOLUTION = 100 * PAPER_SIZE[0] * PAPER_SIZE[1] * 4 / 1e9
TWICE = 100 * (PAPER_SIZE[0] // 4) * (PAPER_SIZE[1] // 4) * 4 / 1e9


def test_a_design_without_projection_of_the_same_cost():
    cost = cost_of(
        *(f"{MODEL}.KERNEL_DIM", 256, f"{DECODER}.FFN_DIM", 512),
        *(f"{MASKS}.PYRAMID_NORM", "", f"{MASKS}.DOWNSAMPLE", "bilinear"),
    )
    assert giga(cost) + FULL_RESOLUTION - TWICE == pytest.approx(24.369, abs=6e-4)
    assert cost.params / 1e6 == pytest.approx(11.434, rel=5e-4)


@pytest.mark.parametrize(
    ("difference", "more", "less"),
    [
        (0.1316, (), NO_ENHANCER),
        (5.2894, (*NO_ENHANCER, f"{MASKS}.NUM_MASK_CONVS", 2), NO_ENHANCER),
        (1.6077, (*NO_ENHANCER, f"{DECODER}.LOCAL_POOL", "none"), NO_ENHANCER),
        (0.0766, (*NO_ENHANCER, f"{DECODER}.LOCAL_POOL_SIZE", 4), NO_ENHANCER),
        (0.0702, NO_ENHANCER, (*NO_ENHANCER, f"{DECODER}.LAYERS", ("global",))),
        (
            0.0138,
            (*NO_ENHANCER, f"{DECODER}.LAYERS", ("global",)),
            (*NO_ENHANCER, f"{DECODER}.LAYERS", ("local",)),
        ),
    ],
    ids=[
        "enhancers",
        "a mask convolution",
        "no pooling",
        "a finer pooling",
        "a decoder",
        "the projection of the global feature",
    ],
)
def test_what_each_part_adds(difference, more, less):
    assert giga(cost_of(*more)) - giga(cost_of(*less)) == pytest.approx(difference, abs=1e-4)


def test_the_breakdown_names_all_parts_and_sums_to_the_total():
    cost = cost_of()
    names = [name for name, _, _ in cost.by_module]
    assert len(set(names)) == len(names)
    assert sum(macs for _, macs, _ in cost.by_module) == cost.macs
    assert sum(params for _, _, params in cost.by_module) == cost.params
    parts = {name: macs / 1e9 for name, macs, _ in cost.by_module}
    expected = {
        "backbone.tpm": 2.2111,
        "backbone.trans": 0.5317,
        "backbone.SIM": 0.2989,
        "mask_decoder.mask_branch": 5.2894 + 0.2936,
        "instance_decoder.global_projection": 0.0138,
        "instance_decoder.layers": 2 * 0.0702,
    }
    for name, macs in expected.items():
        assert parts[name] == pytest.approx(macs, abs=1e-4), name


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
    model = build_tiny_model()
    logger = logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    for training in (True, False):
        model.train(training)
        measure_cost(model, (64, 64))
        assert model.training == training
        assert all(m.training == training for m in model.modules())
    assert logger.level == level


def test_costs_grow_with_the_picture():
    model = build_tiny_model()
    small, large = (measure_cost(model, size) for size in ((64, 64), (128, 128)))
    assert small.params == large.params == sum(p.numel() for p in model.parameters())
    assert 3.5 * small.macs < large.macs < 4.5 * small.macs
