"""Configs by their names."""

import pytest
import yaml

from mobileinst_core.errors import ConfigError
from mobileinst_d2 import model_zoo
from mobileinst_d2.engine import setup_cfg

NAME = "mobileinst/mobileinst_topformer-b_coco.yaml"


def test_every_config_has_a_name(repository):
    files = {path.resolve() for path in (repository / "configs").rglob("*.yaml")}
    names = model_zoo.config_names()
    assert NAME in names
    assert {model_zoo._folder() / name for name in names} == files


def test_a_config_by_its_name_is_that_of_its_path(repository):
    by_path = setup_cfg(repository / "configs" / NAME)
    assert setup_cfg(NAME) == by_path
    cfg = model_zoo.get_config(NAME)
    cfg.MODEL.DEVICE = by_path.MODEL.DEVICE  # depends on the machine
    assert cfg == by_path


def test_a_wrong_name_gives_the_closest():
    wrong = "mobileinst/mobileinst_topformer_b_coco.yaml"
    for find in (model_zoo.get_config_file, model_zoo.get_config, setup_cfg):
        with pytest.raises(ConfigError, match=rf"{wrong}.*the closest are {NAME}"):
            find(wrong)


def test_a_file_goes_before_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mobileinst").mkdir()
    (tmp_path / NAME).write_text("SEED: 77")
    assert setup_cfg(NAME).SEED == 77


def test_a_config_of_the_package_can_be_a_base(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.dump({"_BASE_": NAME, "SEED": 77}))
    cfg, base = setup_cfg(path), setup_cfg(NAME)
    assert cfg.SEED == 77
    base.SEED = 77
    assert cfg == base
    (tmp_path / "other.yaml").write_text("SEED: 5")
    path.write_text("_BASE_: other.yaml")
    assert setup_cfg(path).SEED == 5
    path.write_text("_BASE_: gone.yaml")
    with pytest.raises(ConfigError, match=r"_BASE_ .*gone\.yaml' does not exist"):
        setup_cfg(path)
