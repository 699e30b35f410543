import pytest
import torch
from public_checkpoints import timm_mobilenetv4
from random_weights import randomise
from torch import nn

from mobileinst_d2.modeling import MobileNetV4
from mobileinst_d2.modeling.backbone.mobilenetv4 import UniversalInvertedBottleneck

# timm's stages that give the features.
STAGES = {"x3": 1, "x4": 2, "x5": 3}


def load_backbone(state: dict[str, torch.Tensor]) -> MobileNetV4:
    """Our backbone with timm's weights; nothing but its classifier may be left over."""
    model = MobileNetV4(out_features=("x3", "x4", "x5")).eval()
    left = model.load_state_dict(state, strict=False)
    assert left.missing_keys == []
    classifier = ("blocks.4.", "conv_head.", "norm_head.", "classifier.")
    assert all(name.startswith(classifier) for name in left.unexpected_keys)
    return model


def test_names_and_shapes_are_timms():
    load_backbone(timm_mobilenetv4())


def test_features_equal_timms():
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    public = randomise(timm.create_model("mobilenetv4_conv_small")).eval()
    model = load_backbone(public.state_dict())
    table = timm_mobilenetv4()
    assert {k: v.shape for k, v in table.items()} == {
        k: v.shape for k, v in public.state_dict().items()
    }
    x = torch.randn(2, 3, 96, 129)
    with torch.no_grad():
        features = model(x)
        x = public.bn1(public.conv_stem(x))
        for i, stage in enumerate(public.blocks):
            x = stage(x)
            for name in [name for name, number in STAGES.items() if number == i]:
                scale = x.abs().max()
                torch.testing.assert_close(features[name] / scale, x / scale, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("start", "middle", "stride", "out"),
    [(5, 5, 2, 6), (3, 3, 1, 4), (0, 3, 1, 4), (0, 5, 2, 4), (3, 0, 1, 4), (3, 0, 2, 6)],
)
def test_a_block_follows_its_formula(start, middle, stride, out):
    block = UniversalInvertedBottleneck(
        4, out, start_kernel=start, middle_kernel=middle, expansion=3, stride=stride
    )
    randomise(block).eval()

    def apply(layer, x, stride=1):
        kernel = layer.conv.kernel_size[0]
        groups = layer.conv.groups
        x = nn.functional.conv2d(x, layer.conv.weight, None, stride, kernel // 2, 1, groups)
        return layer.bn(x)

    x = torch.randn(2, 4, 7, 10)
    with torch.no_grad():
        y = x
        if start:
            assert block.dw_start.conv.weight.shape == (4, 1, start, start)
            y = apply(block.dw_start, y, 1 if middle else stride)
        y = apply(block.pw_exp, y).relu()
        if middle:
            assert block.dw_mid.conv.weight.shape == (12, 1, middle, middle)
            y = apply(block.dw_mid, y, stride).relu()
        y = apply(block.pw_proj, y)
        expected = x + y if stride == 1 and out == 4 else y
        torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


def test_the_stem_and_the_first_stages_rectify():
    model = randomise(MobileNetV4()).eval()
    stem = []
    model.blocks[0].register_forward_pre_hook(lambda _, inputs: stem.append(inputs[0]))
    with torch.no_grad():
        features = model(torch.randn(1, 3, 64, 64))
    assert stem[0].min() == 0
    assert features["x3"].min() == 0
    assert features["x6"].min() == 0
    assert features["x4"].min() < 0
    assert features["x5"].min() < 0
    assert {name: x.shape[1] for name, x in features.items()} == {
        "x3": 64,
        "x4": 96,
        "x5": 128,
        "x6": 128,
    }


def test_an_unknown_global_feature_is_named():
    with pytest.raises(ValueError, match=r"MODEL\.MOBILENETV4\.GLOBAL_FEATURE is 'max'"):
        MobileNetV4(global_feature="max")
