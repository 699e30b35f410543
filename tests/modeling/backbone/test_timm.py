"""Networks of timm as backbones."""

import pytest
import timm
import torch
import torchvision
from detectron2.modeling import build_backbone
from random_weights import randomise
from small_repvit import SMALL_REPVIT
from tiny_models import tiny_config
from torch import nn

from mobileinst_d2.checkpoint.names import current_names
from mobileinst_d2.modeling import TimmBackbone


def layers_of_mobilenetv2(public, x):
    for layer in public.features:
        yield (x := layer(x))


def layers_of_mobilenetv4(public, x):
    x = public.bn1(public.conv_stem(x))
    for stage in public.blocks[:4]:  # the rest belongs to the classifier
        yield (x := stage(x))


@pytest.mark.parametrize(
    ("name", "build", "layers", "numbers"),
    [
        ("mobilenetv2_100", torchvision.models.mobilenet_v2, layers_of_mobilenetv2, (6, 13, 17)),
        (
            "mobilenetv4_conv_small",
            lambda: timm.create_model("mobilenetv4_conv_small"),
            layers_of_mobilenetv4,
            (1, 2, 3),
        ),
    ],
)
def test_features_are_the_layers_of_the_public_network(name, build, layers, numbers):
    public = randomise(build()).eval()
    model = TimmBackbone(name=name, out_features=("x3", "x4", "x5")).eval()
    state = public.state_dict()
    names = current_names(state)
    left = model.network.load_state_dict({names[n]: v for n, v in state.items()}, strict=False)
    assert left.missing_keys == []
    head = ("blocks.4.", "conv_head.", "bn2.", "norm_head.", "classifier.")
    assert all(name.startswith(head) for name in left.unexpected_keys)
    x = torch.randn(2, 3, 96, 129)
    with torch.no_grad():
        found, expected = model(x), list(layers(public, x))
    for value, number in zip(found.values(), numbers, strict=True):
        assert torch.equal(value, expected[number])


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("mobilenetv2_100", (32, 96, 320, 320)),
        ("mobilenetv4_conv_medium", (80, 160, 256, 256)),
        ("repvit_m0_9", (96, 192, 384, 384)),
        ("ghostnet_050", (20, 40, 80, 80)),
        ("mambaout_femto", (96, 192, 288, 288)),  # its maps have the channels last
    ],
)
def test_networks_of_many_kinds_give_what_they_declare(name, channels):
    model = TimmBackbone(name=name).eval()
    with torch.no_grad():
        features = model(torch.randn(1, 3, 128, 192))
    shapes = model.output_shape()
    assert tuple(spec.channels for spec in shapes.values()) == channels
    for output, x in features.items():
        stride = shapes[output].stride
        assert x.shape == (1, shapes[output].channels, 128 // stride, 192 // stride)


@pytest.mark.parametrize("kind", ["conv", "pool", "separable"])
def test_the_global_feature_is_made_of_the_coarsest_local_one(kind):
    cfg = tiny_config(MODEL__BACKBONE__NAME="TimmBackbone", MODEL__TIMM__GLOBAL_FEATURE=kind)
    model = randomise(build_backbone(cfg)).eval()
    with torch.no_grad():
        features = model(torch.randn(1, 3, 129, 190))  # 5x6 at stride 32
    x5, layers = features["x5"], model.global_layers
    if kind == "pool":
        expected = torch.stack(
            [x5[:, :, i : i + 2, j : j + 2].mean((2, 3)) for i in (0, 2, 4) for j in (0, 2, 4)], 2
        ).unflatten(2, (3, 3))
    else:
        expected = x5
        for block, stride in zip(layers[::2], (2, 1), strict=False):
            conv = block.conv
            padding = conv.kernel_size[0] // 2
            convolved = nn.functional.conv2d(
                expected, conv.weight, stride=stride, padding=padding, groups=conv.groups
            )
            expected = block.norm(convolved).clamp(0, 6)
        kernels = [(block.conv.kernel_size[0], block.conv.groups) for block in layers[::2]]
        assert kernels == ([(3, 1)] if kind == "conv" else [(3, 320), (1, 1)])
    assert expected.shape == (1, 320, 3, 3)
    torch.testing.assert_close(features["x6"], expected, atol=1e-5, rtol=1e-5)


def test_the_global_feature_rectifies_as_the_network_does():
    kinds = {
        name: type(TimmBackbone(name=name).global_layers[1])
        for name in ("mobilenetv2_100", "mobilenetv4_conv_small", "repvit_m0_9")
    }
    assert list(kinds.values()) == [nn.ReLU6, nn.ReLU, nn.ReLU]


@pytest.mark.parametrize("name", ["test_efficientnet", SMALL_REPVIT])
def test_batch_norms_become_what_is_wanted(name):
    model = TimmBackbone(name=name, norm="FrozenBN")
    x = torch.randn(2, 3, 64, 64)
    # Nothing of the batch counts.
    assert torch.allclose(model.train()(x)["x5"], model.eval()(x)["x5"])
    assert not [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    plain = TimmBackbone(name=name).eval()
    plain.load_state_dict(randomise(model).state_dict(), strict=False)
    scale = plain(x)["x5"].abs().max()
    torch.testing.assert_close(
        model.eval()(x)["x5"] / scale, plain(x)["x5"] / scale, atol=1e-4, rtol=0
    )
    norms = [
        m
        for m in TimmBackbone(name=name, norm="SyncBN").modules()
        if isinstance(m, nn.modules.batchnorm._BatchNorm)
    ]
    assert norms
    assert all(isinstance(m, nn.SyncBatchNorm) for m in norms)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "mobilenetv2_10"}, r"no network 'mobilenetv2_10'; the closest are mobilenetv2_1"),
        ({"name": ""}, "no network ''; the closest are"),
        ({"name": "vit_tiny_patch16_224"}, "takes images of 224x224 only"),
        ({"name": "convmixer_768_32"}, r"at strides \[7, 7, 7\], and .* needs 8, 16 and 32"),
        ({"global_feature": "max"}, "global_feature is 'max', choose one of .*'separable'"),
        ({"name": "hrnet_w18_small", "freeze_at": 2}, "freeze_at is 2, .* no layer .*stage1"),
        ({"norm": "GN"}, "norm is 'GN', choose one of .*'FrozenBN'"),
    ],
)
def test_what_cannot_be_built_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        TimmBackbone(**arguments)


def test_maps_that_lack_the_border_are_refused():
    with pytest.raises(ValueError, match="inception_v3 makes a map of 13x21 at stride 8"):
        TimmBackbone(name="inception_v3")(torch.zeros(1, 3, 128, 192))
