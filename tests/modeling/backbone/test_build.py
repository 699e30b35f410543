"""Backbones with the three maps that a system takes, and no more."""

import pytest
import torch
from detectron2.config import CfgNode
from tiny_models import tiny_config

from mobileinst_d2.modeling.backbone import build_feature_backbone


def resnet(out_features=("res3", "res4", "res5")) -> CfgNode:
    cfg = tiny_config(MODEL__BACKBONE__NAME="build_resnet_backbone", MODEL__RESNETS__DEPTH=18)
    cfg.MODEL.RESNETS.RES2_OUT_CHANNELS = 64
    cfg.MODEL.RESNETS.OUT_FEATURES = list(out_features)
    return cfg


@pytest.mark.parametrize(
    ("cfg", "names"),
    [
        (resnet(), ["res3", "res4", "res5"]),
        (tiny_config(), ["x3", "x4", "x5"]),
        (tiny_config(MODEL__BACKBONE__NAME="TimmBackbone"), ["x3", "x4", "x5"]),
    ],
)
def test_the_maps_at_strides_8_16_and_32_are_found(cfg, names):
    backbone, found = build_feature_backbone(cfg)
    maps = backbone.eval()(torch.zeros(1, 3, 64, 64))
    assert (found, list(maps)) == (names, names)
    assert [maps[name].shape[-1] for name in names] == [8, 4, 2]
    # Nothing is left that no loss reaches.
    sum(x.sum() for x in backbone.train()(torch.rand(2, 3, 64, 64)).values()).backward()
    assert all(p.grad is not None for p in backbone.parameters() if p.requires_grad)


def test_maps_that_are_not_there_are_named():
    with pytest.raises(ValueError, match=r"gives res4 at 16, res5 at 32; .*OUT_FEATURES"):
        build_feature_backbone(resnet(["res4", "res5"]))
