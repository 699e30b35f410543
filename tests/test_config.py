"""The config: its defaults and every shipped file build, and mistakes are named."""

from pathlib import Path

import pytest
import torch
from config_files import config_names, default_config, read_config
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from small_fastinst import build_small_fastinst
from small_sparseinst import build_small_sparseinst
from tiny_models import build_tiny_model, config_leaves
from torch import nn

from mobileinst_d2 import add_mobileinst_config
from mobileinst_d2.engine.optimizer import build_optimizer
from mobileinst_d2.modeling.criterion import MobileInstCriterion
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor

CONFIG_NAMES = config_names()


def test_detectron2s_own_defaults_stay_as_they_are():
    cfg = get_cfg()
    detectron2 = dict(config_leaves(cfg))
    add_mobileinst_config(cfg)
    ours = dict(config_leaves(cfg))
    assert {key: ours[key] for key in detectron2} == detectron2


@pytest.mark.parametrize("system", ["MobileInst", "SparseInst"])
def test_the_defaults_build(system):
    cfg = default_config()
    cfg.MODEL.META_ARCHITECTURE, cfg.MODEL.BACKBONE.NAME = system, "TopFormer"
    model = build_model(cfg)
    VideoPredictor(cfg, model)
    StreamingPredictor(cfg, model)
    build_optimizer(cfg, model)


def test_every_config_file_builds(monkeypatch):
    """Those of MobileInst are built in test_start_of_training.py."""
    for draw in ("normal_", "uniform_"):  # which takes most of the time
        monkeypatch.setattr(torch.Tensor, draw, lambda x, *_, **__: x)
    built = set()
    for name in CONFIG_NAMES:
        cfg = read_config(name)
        cfg.MODEL.WEIGHTS = ""
        if cfg.MODEL.META_ARCHITECTURE != "MobileInst" and str(cfg.MODEL) not in built:
            built.add(str(cfg.MODEL))
            build_optimizer(cfg, build_model(cfg))
    assert len(built) > 10


def test_every_config_file_has_losses_and_an_optimizer():
    for name in CONFIG_NAMES:
        cfg = read_config(name)
        MobileInstCriterion(cfg)
        build_optimizer(cfg, nn.Linear(2, 2))


def test_no_shipped_config_freezes_a_mobile_backbone_that_it_does_not_train_first():
    mobile = ("TopFormer", "SeaFormer", "TimmBackbone", "build_topformer_fpn_backbone")
    for name in set(CONFIG_NAMES) - {"toy/shapes_video.yaml"}:
        cfg = read_config(name).MODEL.BACKBONE
        assert cfg.NAME not in mobile or cfg.FREEZE_AT == 0, name


def test_output_folders_are_not_shared():
    names = [name for name in CONFIG_NAMES if not Path(name).name.startswith("base")]
    assert len({read_config(name).OUTPUT_DIR for name in names}) == len(names) > 5


MODEL = "MODEL__MOBILEINST__"
MASKS, INSTANCES = f"{MODEL}MASK_DECODER__", f"{MODEL}INSTANCE_DECODER__"
FPN = {f"{MASKS}NAME": "FPNPPMMaskDecoder"}
RESNET = {
    "MODEL__BACKBONE__NAME": "build_resnet_backbone",
    "MODEL__RESNETS__OUT_FEATURES": ["res3", "res4", "res5"],
}


@pytest.mark.parametrize(
    ("system", "overrides", "message"),
    [
        ("MobileInst", {"MODEL__BACKBONE__NORM": "nonsense"}, "norm is 'nonsense', .*'FrozenBN'"),
        ("MobileInst", {"MODEL__TOPFORMER__VARIANT": "large"}, "variant is 'large', .*'tiny'"),
        ("MobileInst", {f"{MODEL}BACKBONE_FEATURES": ["x3", "x9"]}, r"\['x9'\] are needed.*'x3'"),
        ("MobileInst", {"MODEL__PIXEL_STD": [1.0, 0.0, 1.0]}, r"pixel_std \[1.0, 0.0, 1.0\]: .* 0"),
        ("SparseInst", {"MODEL__PIXEL_STD": [1.0]}, r"pixel_std \[1.0\]: give both a number for"),
        ("MobileInst", {f"{INSTANCES}NUM_QUERIES": 0}, "num_queries is 0, at least 1"),
        ("MobileInst", {f"{MODEL}NORM": "LN"}, "norm is 'LN', .*'GN'"),
        ("MobileInst", {f"{MODEL}QUERY_PASSING": "no"}, "passing_match is 'no', .*'identity'"),
        ("MobileInst", {f"{MASKS}NAME": "no"}, r"MASK_DECODER\.NAME .*FPNPPMMaskDecoder"),
        ("MobileInst", {f"{MASKS}PYRAMID_NORM": "LN"}, "pyramid_norm is 'LN', .*'GN'"),
        ("MobileInst", {f"{MASKS}ENHANCERS": ["all"]}, "enhancers is 'all', .*'input'"),
        ("MobileInst", {f"{MASKS}DOWNSAMPLE": "avg"}, "downsample is 'avg', .*'nearest'"),
        ("MobileInst", {f"{MASKS}SEPARABLE_STRIDES": (8, 4)}, r"strides is 4, .*\[8, 16, 32\]"),
        ("MobileInst", FPN | {f"{MASKS}PPM_DIM": -1}, "pooled_dim is -1"),
        ("MobileInst", {f"{INSTANCES}NUM_HEADS": 3}, "64 is not divisible by 3 attention heads"),
        ("MobileInst", {f"{INSTANCES}LAYERS": []}, "layers is empty"),
        ("MobileInst", {f"{INSTANCES}LAYERS": ["middle"]}, "of layers is 'middle', .*'global'"),
        ("MobileInst", {f"{INSTANCES}KERNEL_MLP_LAYERS": 0}, "kernel_mlp_layers is 0"),
        ("MobileInst", {f"{INSTANCES}LOCAL_POOL": "sum"}, "local_pool is 'sum', .*'max'"),
        ("MobileInst", {f"{INSTANCES}LOCAL_POOL_SIZE": 9}, "local_pool_size is 9"),
        ("SparseInst", {"GROUPS": 5}, "groups is 5, choose a divisor of the width 32"),
        ("SparseInst", {"GROUPS": 0}, "groups is 0"),
        ("SparseInst", {"NUM_QUERIES": 0}, "num_queries is 0"),
        ("SparseInst", {"ACTIVATION": "relu"}, "activation is 'relu', .*'softmax'"),
        ("SparseInst", {"LOSS__NORMALIZATION": "no"}, "normalization is 'no', .*'as_published'"),
        ("SparseInst", {"MODEL__BACKBONE__DEFORMABLE_STAGES": [4]}, "has 4: TimmBackbone has no"),
        (
            "SparseInst",
            RESNET | {"MODEL__BACKBONE__DEFORMABLE_STAGES": [6]},
            "DEFORMABLE_STAGES has 6: ResNet",
        ),
        ("FastInst", {"DECODER": "static"}, "DECODER is 'static', .*'mask2former'"),
        ("FastInst", {"NUM_LAYERS": 0}, "num_layers is 0, at least 1"),
        ("FastInst", {"NORM": "LN"}, "norm is 'LN', .*'GN'"),
        ("FastInst", {"HIDDEN_DIM": 48}, "width 48 is not divisible by the 32 groups"),
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_named_with_those_that_do(system, overrides, message):
    build = {
        "MobileInst": build_tiny_model,
        "SparseInst": build_small_sparseinst,
        "FastInst": build_small_fastinst,
    }[system]
    node = f"MODEL__{system.upper()}__"
    options = {k if k.startswith("MODEL") else node + k: v for k, v in overrides.items()}
    with pytest.raises(ValueError, match=message):
        build(**options)
