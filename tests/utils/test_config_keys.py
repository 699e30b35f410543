"""Configs to which two projects add their keys, in either order."""

import logging

import pytest
from detectron2.config import CfgNode, get_cfg
from tiny_models import config_leaves

from mobileinst_d2 import add_mobileinst_config


def add_other_config(cfg):
    """Keys of a project of video segmentation with names that others use too."""
    cfg.INPUT.SAMPLING_FRAME_NUM = 3
    cfg.INPUT.SAMPLING_FRAME_RANGE = 20
    cfg.INPUT.SAMPLING_FRAME_SHUFFLE = False
    cfg.SOLVER.OPTIMIZER = "SGD"
    cfg.SOLVER.BACKBONE_MULTIPLIER = 1
    cfg.MODEL.OTHER = CfgNode({"NUM_QUERIES": 10})


def both(*functions):
    cfg = get_cfg()
    for add in functions:
        add(cfg)
    return cfg


def test_values_of_another_project_stay_and_all_keys_are_there(caplog):
    with caplog.at_level(logging.WARNING):
        cfg = both(add_other_config, add_mobileinst_config)
    assert (cfg.INPUT.SAMPLING_FRAME_NUM, cfg.SOLVER.OPTIMIZER) == (3, "SGD")
    assert cfg.INPUT.SAMPLING_FRAME_SHUFFLE is False
    assert cfg.SOLVER.BACKBONE_MULTIPLIER == 1
    assert cfg.MODEL.OTHER.NUM_QUERIES == 10
    own = dict(config_leaves(both(add_mobileinst_config)))
    assert own.keys() < dict(config_leaves(cfg)).keys()
    assert "INPUT.SAMPLING_FRAME_NUM stays 3" in caplog.text
    assert "SAMPLING_FRAME_RANGE" not in caplog.text  # equal


def test_alone_it_gives_the_defaults_and_twice_changes_nothing(caplog):
    once = both(add_mobileinst_config)
    assert both(add_mobileinst_config, add_mobileinst_config) == once
    once.SOLVER.OPTIMIZER = "SGD"
    add_mobileinst_config(once)
    assert once.SOLVER.OPTIMIZER == "SGD"


def test_detectron2s_own_values_stay_without_a_word(caplog):
    cfg = get_cfg()
    cfg.SOLVER.BASE_LR, cfg.DATASETS.TRAIN = 0.5, ("mine",)
    add_mobileinst_config(cfg)
    assert (cfg.SOLVER.BASE_LR, cfg.DATASETS.TRAIN) == (0.5, ("mine",))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("key", "value"),
    [("SAMPLING_FRAME_NUM", "two"), ("SAMPLING_FRAME_SHUFFLE", 1), ("SAMPLING_FRAME_NUM", None)],
)
def test_a_value_that_does_not_suit_is_named(key, value):
    cfg = get_cfg()
    cfg.INPUT[key] = value
    with pytest.raises(ValueError, match=rf"INPUT\.{key} = {value!r} already"):
        add_mobileinst_config(cfg)
