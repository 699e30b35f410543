"""The measured scales follow the weights."""

import initialization
import pytest

CONFIG = initialization.CONFIGS.parent / "toy" / "shapes_video.yaml"


@pytest.fixture(scope="module")
def clip():
    return initialization.moving_shapes_clip(64)


def test_scales_losses_and_gradients(clip):
    cfg = initialization.load_config(CONFIG)
    result = initialization.measure(cfg, clip)
    assert 0.3 < result["scales"]["classes"] < 1.0
    assert all(0 <= value <= 1 for value in result["entropy"].values())
    assert len(result["entropy"]) == 4  # two decoders, each with cross- and self-attention
    assert set(result["losses"]) == set(result["gradients"]) >= {"loss_cls", "loss_passed_mask"}
    classes = result["gradients"]["loss_cls"]
    assert classes["instance_decoder.class_head"] > 0
    assert classes["instance_decoder.kernel_head"] == 0
    assert initialization.report({"toy": result}).count("| toy ") == 3 + len(result["losses"])
