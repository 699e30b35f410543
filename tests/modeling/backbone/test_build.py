"""Backbones with the three maps that a system takes, and no more."""

import pytest
import torch
from detectron2.config import CfgNode
from tiny_models import FEW_LAYERS, tiny_config

from mobileinst_d2.modeling.backbone import build_feature_backbone
from mobileinst_d2.modeling.layers import DeformableConv2d


def resnet(out_features=("res3", "res4", "res5"), deformable=()) -> CfgNode:
    cfg = tiny_config(MODEL__BACKBONE__NAME="build_resnet_backbone", MODEL__BACKBONE__FREEZE_AT=0)
    cfg.MODEL.RESNETS.update(
        OUT_FEATURES=list(out_features),
        WIDTH_PER_GROUP=8,
        STEM_OUT_CHANNELS=8,
        RES2_OUT_CHANNELS=16,
    )
    cfg.MODEL.BACKBONE.DEFORMABLE_STAGES = list(deformable)
    return cfg


@pytest.mark.parametrize(
    ("cfg", "names"),
    [
        (resnet(), ["res3", "res4", "res5"]),
        (resnet(deformable=[4, 5]), ["res3", "res4", "res5"]),
        (tiny_config(), ["x3", "x4", "x5"]),
        (tiny_config(**FEW_LAYERS), ["x3", "x4", "x5"]),
    ],
)
def test_the_maps_at_strides_8_16_and_32_are_found(cfg, names):
    backbone, found = build_feature_backbone(cfg)
    maps = backbone.eval()(torch.zeros(1, 3, 64, 64))
    assert (found, list(maps)) == (names, names)
    assert [maps[name].shape[-1] for name in names] == [8, 4, 2]
    deformable = [m for m in backbone.modules() if isinstance(m, DeformableConv2d)]
    assert bool(deformable) == bool(cfg.MODEL.BACKBONE.DEFORMABLE_STAGES)
    # Nothing is left that no loss reaches.
    sum(x.sum() for x in backbone.train()(torch.rand(2, 3, 64, 64)).values()).backward()
    assert all(p.grad is not None for p in backbone.parameters())


def test_maps_that_are_not_there_are_named():
    with pytest.raises(ValueError, match=r"gives res4 at 16, res5 at 32; .*OUT_FEATURES"):
        build_feature_backbone(resnet(["res4", "res5"]))
