import pytest
import torch
import torchvision
from detectron2.modeling import build_backbone
from random_weights import randomise
from tiny_models import tiny_config
from torch import nn

from mobileinst_d2.modeling import MobileNetV2

CHANNELS = {"x3": 32, "x4": 96, "x5": 320, "x6": 320}
# Indices of torchvision's layers that give the features.
LAYERS = {"x3": 6, "x4": 13, "x5": 17}


@pytest.fixture(scope="module")
def public_features() -> nn.Sequential:
    """torchvision's convolutional part, with random weights."""
    torch.manual_seed(0)
    return randomise(torchvision.models.mobilenet_v2(weights=None)).features.eval()


def test_features_equal_torchvisions(public_features):
    model = MobileNetV2(out_features=("x3", "x4", "x5")).eval()
    state = {f"features.{name}": value for name, value in public_features.state_dict().items()}
    unused = model.load_state_dict(state, strict=False)
    assert unused.missing_keys == []
    assert all(name.startswith("features.18.") for name in unused.unexpected_keys)
    x = torch.randn(2, 3, 96, 129)
    with torch.no_grad():
        features = model(x)
        for i, layer in enumerate(public_features):
            x = layer(x)
            for name in [name for name, number in LAYERS.items() if number == i]:
                scale = x.abs().max()
                torch.testing.assert_close(features[name] / scale, x / scale, atol=1e-5, rtol=0)


def test_weights_recovered_for_the_mobile_fit_the_backbone(shared_data):
    state = torch.load(shared_data("weights", "mobilenetv2_imagenet.pth"), weights_only=True)
    own = MobileNetV2(global_feature="pool").state_dict()
    for name, value in state.items():
        assert name.startswith("features.18.") or own[name].shape == value.shape
    assert set(own) <= set(state)


@pytest.mark.parametrize("kind", ["conv", "pool", "separable"])
def test_the_global_feature_is_made_of_the_coarsest_local_one(kind):
    cfg = tiny_config(MODEL__BACKBONE__NAME="MobileNetV2", MODEL__MOBILENETV2__GLOBAL_FEATURE=kind)
    model = randomise(build_backbone(cfg)).eval()
    with torch.no_grad():
        features = model(torch.randn(1, 3, 129, 190))  # 5x6 at stride 32
    x5, layers = features["x5"], model.global_layers
    if kind == "pool":
        expected = torch.stack(
            [x5[:, :, i : i + 2, j : j + 2].mean((2, 3)) for i in (0, 2, 4) for j in (0, 2, 4)], 2
        ).unflatten(2, (3, 3))
    elif kind == "conv":
        expected = layers[1](nn.functional.conv2d(x5, layers[0].weight, stride=2, padding=1))
        expected = expected.clamp(0, 6)
    else:
        expected = x5
        for (conv, norm, _), stride in zip(layers, (2, 1), strict=True):
            padding = stride - 1
            convolved = nn.functional.conv2d(
                expected, conv.weight, stride=stride, padding=padding, groups=conv.groups
            )
            expected = norm(convolved).clamp(0, 6)
        assert (layers[0][0].groups, layers[1][0].kernel_size) == (320, (1, 1))
    assert expected.shape == (1, 320, 3, 3)
    torch.testing.assert_close(features["x6"], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("kind", "millions"), [("conv", 0.92), ("pool", 0.0), ("separable", 0.107)]
)
def test_the_global_feature_costs_parameters_of_its_own_only(kind, millions):
    counts = [
        sum(p.numel() for p in MobileNetV2(global_feature=kind, out_features=names).parameters())
        for names in (("x5",), ("x5", "x6"))
    ]
    assert counts[0] == pytest.approx(1.812e6, rel=5e-4)
    assert (counts[1] - counts[0]) / 1e6 == pytest.approx(millions, abs=3e-3)


def test_an_unknown_global_feature_is_named():
    with pytest.raises(ValueError, match=r"MODEL\.MOBILENETV2\.GLOBAL_FEATURE is 'max'"):
        MobileNetV2(global_feature="max")
