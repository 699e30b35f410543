"""Keys of Detectron2 that do nothing are told of, and only they."""

import pytest

from mobileinst_core.errors import ConfigError
from mobileinst_d2.engine.setup import setup_cfg
from mobileinst_d2.model_zoo import config_names

CONFIG = "toy/shapes_image.yaml"


def test_our_configs_set_nothing_in_vain(caplog):
    for name in config_names():
        setup_cfg(name)
        assert "base" in name or "have no effect" not in caplog.text, name
        caplog.clear()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("MODEL.ROI_HEADS.NUM_CLASSES", 3),
        ("MODEL.RETINANET.NUM_CLASSES", 3),
        ("MODEL.RPN.NMS_THRESH", 0.5),
        ("MODEL.RESNETS.DEPTH", 18),
        ("MODEL.FPN.NORM", "GN"),
        ("TEST.AUG.FLIP", False),
        ("GLOBAL.HACK", 2.0),
    ],
)
def test_keys_without_effect_are_named(key, value, caplog):
    setup_cfg(CONFIG, (key, str(value)))
    (message,) = [text for text in caplog.messages if "have no effect" in text]
    assert message == f"These keys have no effect with MobileInst on TimmBackbone: {key}."


def test_detectron2s_detectors_read_their_own(caplog):
    setup_cfg("detectron2/retinanet_topformer-b_fpn.yaml", ("MODEL.RETINANET.PRIOR_PROB", "0.1"))
    assert "have no effect" not in caplog.text


@pytest.mark.parametrize("key", ["MODEL.KEYPOINT_ON", "MODEL.LOAD_PROPOSALS", "TEST.AUG.ENABLED"])
def test_what_would_change_results_is_refused(key):
    with pytest.raises(ConfigError, match=f"{key} True is not possible"):
        setup_cfg(CONFIG, (key, "True"))


def test_a_dumped_config_is_read_without_complaint(tmp_path, caplog):
    (tmp_path / "config.yaml").write_text(setup_cfg(CONFIG).dump())
    setup_cfg(tmp_path / "config.yaml")
    assert "have no effect" not in caplog.text
