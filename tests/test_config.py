"""The config: its defaults and every shipped file build, and mistakes are named."""

from pathlib import Path

import pytest
from config_files import config_names, default_config, read_config
from detectron2.config import get_cfg
from detectron2.modeling import build_model
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


@pytest.mark.usefixtures("drawn_ones")
def test_every_config_file_builds():
    """Those of MobileInst are built in test_start_of_training.py."""
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


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"MODEL__BACKBONE__NORM": "nonsense"}, "norm is 'nonsense', .*'FrozenBN'"),
        ({f"{MODEL}BACKBONE_FEATURES": ["x3", "x9"]}, r"features \['x9'\] are needed.*'x3'"),
        ({f"{MODEL}NORM": "LN"}, "norm is 'LN', .*'GN'"),
        ({f"{MODEL}MASK_DECODER__NAME": "nonsense"}, r"MASK_DECODER\.NAME .*FPNPPMMaskDecoder"),
        ({f"{MODEL}MASK_DECODER__PYRAMID_NORM": "LN"}, "pyramid_norm is 'LN', .*'GN'"),
        ({f"{MODEL}MASK_DECODER__ENHANCERS": ["all"]}, "enhancers is 'all', .*'input'"),
        ({f"{MODEL}MASK_DECODER__DOWNSAMPLE": "avg"}, "downsample is 'avg', .*'nearest'"),
        ({f"{MODEL}QUERY_PASSING": "nonsense"}, "passing_match is 'nonsense', .*'identity'"),
        ({f"{MODEL}INSTANCE_DECODER__NUM_HEADS": 3}, "64 is not divisible by 3 attention heads"),
    ],
    ids=str,
)
def test_unknown_options_are_named_with_the_known_ones(overrides, message):
    with pytest.raises(ValueError, match=message):
        build_tiny_model(**overrides)
