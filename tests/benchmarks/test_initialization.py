"""The measured scales follow the weights."""

import initialization
import pytest
import torch
from detectron2.modeling import build_model

CONFIG = initialization.CONFIGS.parent / "toy" / "shapes_video.yaml"


@pytest.fixture(scope="module")
def clip():
    return initialization.moving_shapes_clip(64)


def test_a_clip_has_frames_and_objects(clip):
    assert len(clip["image"]) == len(clip["instances"]) == initialization.NUM_FRAMES
    for frame, objects in zip(clip["image"], clip["instances"], strict=True):
        assert frame.shape == (3, 64, 64)
        assert objects.gt_masks.tensor.flatten(1).any(1).all()
        assert len(objects.gt_classes) == len(objects.gt_ids)


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


def test_dead_kernels_show(clip, monkeypatch):
    def build(cfg):
        model = build_model(cfg)
        torch.nn.init.zeros_(model.instance_decoder.kernel_head[-1].weight)
        return model

    monkeypatch.setattr(initialization, "build_model", build)
    result = initialization.measure(initialization.load_config(CONFIG), clip)
    assert result["scales"]["kernels"] == result["scales"]["mask logits"] == 0
    assert result["gradients"]["loss_mask"]["mask_decoder"] == 0


def test_every_network_once():
    names = [file.stem for file in initialization.default_configs()]
    assert {"mobileinst_topformer-b_coco", "mobileinst_topformer-b_literal_coco"} <= set(names)
    assert len(names) == len(set(names)) > 15
    assert "table1_topformer-b_512" not in names  # the network of topformer-b
