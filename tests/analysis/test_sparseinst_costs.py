"""Costs of SparseInst: the published ones, and those of its head on mobile backbones."""

import pytest
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

from mobileinst_d2.analysis import ModelCost, measure_cost
from mobileinst_d2.analysis.flops import count_macs
from mobileinst_d2.engine import setup_cfg


def config(name: str, *opts: object) -> CfgNode:
    return setup_cfg(f"sparseinst/sparseinst_{name}_coco.yaml", ["MODEL.DEVICE", "cpu", *opts])


def cost_of_backbone(cost: ModelCost) -> int:
    return sum(macs for part, macs, _ in cost.by_module if part.startswith("backbone"))


def count(part: nn.Module) -> int:
    return sum(p.numel() for p in part.parameters())


@pytest.mark.parametrize(
    ("name", "whole", "decoder"), [("r50_iam", 31_584_373, 5_047), ("r50_giam", 32_794_785, 6_257)]
)
def test_a_resnet_50_has_the_published_parameters(name, whole, decoder):
    model = build_model(config(name))
    parts = (
        model.backbone,
        model.encoder,
        nn.ModuleList([model.instance_decoder, model.mask_branch]),
    )
    assert [round(count(part) / 1000) for part in parts] == [23_455, 3_082, decoder]
    assert count(model) == whole


def test_with_gradients_off_frozen_norms_are_counted_and_the_published_95_gmac_come_out():
    """FrozenBN is a multiply-add with gradients on, which is not counted."""
    model, size = build_model(config("r50_giam")), (608, 864)
    cost = measure_cost(model, size)
    assert cost.macs / 1e9 == pytest.approx(94.78, abs=0.006)
    with torch.no_grad():
        norms = count_macs(model.backbone.eval(), [torch.zeros(1, 3, *size)])
    norms -= cost_of_backbone(cost)
    assert (cost.macs + norms) / 1e9 == pytest.approx(95.01, abs=0.01)


def test_the_head_on_a_mobile_backbone_costs_what_the_public_code_costs():
    single = build_model(config("mobilenetv2", "MODEL.SPARSEINST.GROUPS", 1))
    assert (count(single) - count(single.backbone)) / 1e6 == pytest.approx(7.327, abs=6e-4)
    model = build_model(config("mobilenetv2"))
    assert (count(model) - count(model.backbone)) / 1e6 == pytest.approx(8.537, abs=6e-4)
    cost = measure_cost(model, (608, 608))
    assert (cost.macs - cost_of_backbone(cost)) / 1e9 == pytest.approx(35.41, abs=0.011)
