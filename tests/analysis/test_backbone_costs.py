"""Costs of all backbones, alone and in the full model, against the numbers known of them."""

import math

import pytest
from config_files import read_config
from detectron2.config import get_cfg
from detectron2.modeling import build_model
from single_module import Only

from mobileinst_d2 import add_mobileinst_config
from mobileinst_d2.analysis import measure_cost
from mobileinst_d2.modeling import SeaFormer, TimmBackbone, TopFormer

BACKBONE_SIZES = ((224, 224), (512, 512), (640, 896))
# The test images of COCO and of YouTube-VIS, padded.
MODEL_SIZES = ((640, 896), (512, 512), (384, 640))
NUM_CLASSES = 1000  # of ImageNet


def agrees(value: float, digits: str) -> bool:
    """Whether a number rounds to the printed one."""
    decimals = len(digits.partition(".")[2])
    return math.isclose(value, float(digits), abs_tol=0.5 * 10**-decimals + 1e-9)


@pytest.mark.parametrize(
    ("variant", "params", "macs", "bare_params", "bare_macs"),
    [
        ("tiny", "1.370", (".098", ".492", "1.084"), "1.294", (".0902", ".453", "1.000")),
        ("small", "2.968", (".178", ".891", "1.961"), "2.808", (".1625", ".811", "1.786")),
        (
            "base",
            "4.958",
            (".278", "1.384", "3.043801600"),
            "4.683",
            (".2514", "1.247", "2.744896000"),
        ),
    ],
)
def test_topformer_with_and_without_injections(variant, params, macs, bare_params, bare_macs):
    backbone = TopFormer(variant=variant)
    for size, expected, bare_expected in zip(BACKBONE_SIZES, macs, bare_macs, strict=True):
        cost = measure_cost(Only(backbone), size)
        injections = next(part for part in cost.by_module if part[0] == "module.SIM")
        assert agrees(cost.macs / 1e9, expected), (size, cost.macs)
        assert agrees((cost.macs - injections[1]) / 1e9, bare_expected), size
    assert agrees(cost.params / 1e6, params)
    bare = TopFormer(variant=variant, out_features=("x6",))
    assert cost.params - injections[2] == sum(p.numel() for p in bare.parameters())
    assert agrees((cost.params - injections[2]) / 1e6, bare_params)


@pytest.mark.parametrize(
    ("variant", "params", "published_params", "published_macs"),
    [
        ("tiny", "1.620", "1.781", (".099", ".497", "1.085")),
        ("small", "3.913", "4.106", (".185", ".915", "1.995")),
        ("base", "8.486", "8.743", (".324", "1.578", "3.439")),
        ("large", "13.726", "14.047", ("1.186", "6.033", "13.18")),
    ],
)
def test_seaformer(variant, params, published_params, published_macs):
    backbone = SeaFormer(variant=variant)
    channels = backbone.output_shape()["x6"].channels
    for size, expected in zip(BACKBONE_SIZES, published_macs, strict=True):
        cost = measure_cost(Only(backbone), size)
        # The published numbers contain the pooling and the linear layer of the classifier.
        positions = math.prod(math.ceil(side / 64) for side in size)
        macs = cost.macs + channels * (positions + NUM_CLASSES)
        assert agrees(macs / 1e9, expected), (size, cost.macs)
    assert agrees(cost.params / 1e6, params)
    assert agrees((cost.params + (channels + 1) * NUM_CLASSES) / 1e6, published_params)


def test_mobilenetv2_without_its_last_layer():
    backbone = TimmBackbone(out_features=("x3", "x4", "x5"))
    for size, expected in zip(BACKBONE_SIZES, (".293", "1.529", "3.345"), strict=True):
        cost = measure_cost(Only(backbone), size)
        assert agrees(cost.macs / 1e9, expected), (size, cost.macs)
    assert agrees(cost.params / 1e6, "1.812")


def test_mobilenetv4_with_its_classifier_has_the_published_size():
    backbone = TimmBackbone(name="mobilenetv4_conv_small", out_features=("x3", "x4", "x5"))
    cost = measure_cost(Only(backbone), (224, 224))
    # 1x1 convolutions to 960 and to 1280 channels with batch norms, and the classifier.
    classifier = (128 + 2) * 960 + (960 + 2) * 1280 + (1280 + 1) * NUM_CLASSES
    assert agrees((cost.params + classifier) / 1e6, "3.8")
    assert agrees((cost.macs + 128 * 960 * 7 * 7 + 960 * 1280 + 1280 * NUM_CLASSES) / 1e9, "0.2")


@pytest.mark.parametrize(
    ("name", "macs", "params"),
    [
        ("topformer-b", "17.44", "11.70"),
        ("topformer-b_128", "6.18", "6.97"),
        ("topformer-b_128_dw", "3.69", "6.58"),
        ("mobilenetv4-s_128", "5.30", "3.07"),
        ("mobilenetv4-s_128_dw", "2.81", "2.68"),
        ("mobilenetv4-m_128_dw", "8.14", "9.05"),
        ("repvit-m0.9_128_dw", "8.30", "7.66"),
    ],
)
def test_the_faster_family(name, macs, params):
    model = build_model(read_config(f"mobileinst/mobileinst_{name}_coco.yaml"))
    cost = measure_cost(model, (640, 640))
    assert (agrees(cost.macs / 1e9, macs), agrees(cost.params / 1e6, params)) == (True, True)


@pytest.mark.parametrize(("kind", "macs"), [("conv", 0.129), ("pool", 0.0), ("separable", 0.015)])
def test_the_global_feature_of_mobilenetv2(kind, macs):
    cost = measure_cost(Only(TimmBackbone(global_feature=kind)), BACKBONE_SIZES[-1])
    parts = {name: part for name, part, _ in cost.by_module}
    assert parts.get("module.global_layers", 0) / 1e9 == pytest.approx(macs, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "variant", "params", "macs"),
    [
        ("TopFormer", "base", "11.699", ("24.370", "11.213", "10.521")),
        ("TopFormer", "small", "9.547", ("23.079",)),
        ("TopFormer", "tiny", "7.787", ("21.994",)),
        ("SeaFormer", "base", "14.964", ("24.220", "11.157", "10.471")),
        ("SeaFormer", "small", "10.289", ("22.705",)),
        ("SeaFormer", "tiny", "7.935", ("21.729",)),
        ("SeaFormer", "large", "20.335", ("34.161",)),
        ("TimmBackbone", "", "9.311", ("24.193", "11.139", "10.452")),
    ],
)
def test_full_models(name, variant, params, macs):
    cfg = get_cfg()
    add_mobileinst_config(cfg)
    cfg.MODEL.DEVICE = "cpu"
    cfg.MODEL.META_ARCHITECTURE = "MobileInst"
    cfg.MODEL.BACKBONE.NAME = name
    if variant:
        cfg.merge_from_list([f"MODEL.{name.upper()}.VARIANT", variant])
    model = build_model(cfg)
    for size, expected in zip(MODEL_SIZES, macs, strict=False):
        cost = measure_cost(model, size)
        assert agrees(cost.macs / 1e9, expected), (size, cost.macs)
    assert agrees(cost.params / 1e6, params), cost.params
