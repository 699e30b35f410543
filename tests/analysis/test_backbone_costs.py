"""Costs of all backbones, alone and in the full model, against the numbers known of them."""

import math

import pytest
import torch
from config_files import read_config
from detectron2.modeling import build_model
from single_module import Only

from mobileinst_d2.analysis import measure_cost
from mobileinst_d2.modeling import SeaFormer, TimmBackbone, TopFormer

SIZE = (512, 512)
NUM_CLASSES = 1000  # of ImageNet


def agrees(value: float, digits: str) -> bool:
    """Whether a number rounds to the printed one."""
    decimals = len(digits.partition(".")[2])
    return math.isclose(value, float(digits), abs_tol=0.5 * 10**-decimals + 1e-9)


@pytest.mark.parametrize(
    ("variant", "params", "macs", "bare_params", "bare_macs"),
    [
        ("tiny", "1.370", ".492", "1.294", ".453"),
        ("small", "2.968", ".891", "2.808", ".811"),
        ("base", "4.958", "1.384", "4.683", "1.247"),
    ],
)
@torch.no_grad()
def test_topformer_with_and_without_injections(variant, params, macs, bare_params, bare_macs):
    cost = measure_cost(Only(TopFormer(variant=variant)), SIZE)
    injections = next(part for part in cost.by_module if part[0] == "module.SIM")
    assert agrees(cost.macs / 1e9, macs), cost.macs
    assert agrees((cost.macs - injections[1]) / 1e9, bare_macs)
    assert agrees(cost.params / 1e6, params)
    bare = TopFormer(variant=variant, out_features=("x6",))
    assert cost.params - injections[2] == sum(p.numel() for p in bare.parameters())
    assert agrees((cost.params - injections[2]) / 1e6, bare_params)


@pytest.mark.parametrize(
    ("variant", "params", "published_params", "published_macs"),
    [
        ("tiny", "1.620", "1.781", ".497"),
        ("small", "3.913", "4.106", ".915"),
        ("base", "8.486", "8.743", "1.578"),
        ("large", "13.726", "14.047", "6.033"),
    ],
)
@torch.no_grad()
def test_seaformer(variant, params, published_params, published_macs):
    backbone = SeaFormer(variant=variant)
    channels = backbone.output_shape()["x6"].channels
    cost = measure_cost(Only(backbone), SIZE)
    # The published numbers contain the pooling and the linear layer of the classifier.
    positions = math.prod(math.ceil(side / 64) for side in SIZE)
    macs = cost.macs + channels * (positions + NUM_CLASSES)
    assert agrees(macs / 1e9, published_macs), cost.macs
    assert agrees(cost.params / 1e6, params)
    assert agrees((cost.params + (channels + 1) * NUM_CLASSES) / 1e6, published_params)


def test_mobilenetv2_without_its_last_layer():
    cost = measure_cost(Only(TimmBackbone(out_features=("x3", "x4", "x5"))), SIZE)
    assert agrees(cost.macs / 1e9, "1.529"), cost.macs
    assert agrees(cost.params / 1e6, "1.812")


def test_mobilenetv4_with_its_classifier_has_the_published_size():
    backbone = TimmBackbone(name="mobilenetv4_conv_small", out_features=("x3", "x4", "x5"))
    cost = measure_cost(Only(backbone), (224, 224))
    # 1x1 convolutions to 960 and to 1280 channels with batch norms, and the classifier.
    classifier = (128 + 2) * 960 + (960 + 2) * 1280 + (1280 + 1) * NUM_CLASSES
    assert agrees((cost.params + classifier) / 1e6, "3.8")
    assert agrees((cost.macs + 128 * 960 * 7 * 7 + 960 * 1280 + 1280 * NUM_CLASSES) / 1e9, "0.2")


@torch.no_grad()
def test_the_smallest_model_of_the_family():
    model = build_model(read_config("mobileinst/mobileinst_mobilenetv4-s_128_dw_coco.yaml"))
    cost = measure_cost(model, (640, 640))
    assert (agrees(cost.macs / 1e9, "2.81"), agrees(cost.params / 1e6, "2.68")) == (True, True)
