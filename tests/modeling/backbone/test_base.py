"""What holds for all mobile backbones."""

from collections.abc import Callable

import pytest
import torch
from detectron2.modeling import Backbone, build_backbone
from tiny_models import tiny_config
from torch import nn

from mobileinst_d2.modeling import SeaFormer, TimmBackbone, TopFormer

BACKBONES = {
    "TopFormer": lambda **arguments: TopFormer(variant="tiny", **arguments),
    "SeaFormer": lambda **arguments: SeaFormer(variant="tiny", **arguments),
    "TimmBackbone": lambda **arguments: TimmBackbone(name="test_efficientnet", **arguments),
}
NAMES = ("TopFormer", "SeaFormer", "TimmBackbone")
STRIDES = {"x3": 8, "x4": 16, "x5": 32, "x6": 64}


@pytest.fixture(params=BACKBONES)
def build(request) -> Callable[..., Backbone]:
    return BACKBONES[request.param]


@pytest.mark.parametrize(
    ("size", "training"), [((64, 64), True), ((65, 97), True), ((200, 333), False)]
)
def test_maps_have_the_size_over_the_stride_rounded_up(build, size, training):
    model = build().train(training)
    features = model(torch.randn(1, 3, *size))
    declared = model.output_shape()
    assert {name: spec.stride for name, spec in declared.items()} == STRIDES
    assert list(features) == list(STRIDES)
    for name, x in features.items():
        channels = declared[name].channels
        assert x.shape[1:] == (channels, *(-(-side // STRIDES[name]) for side in size))
        assert x.isfinite().all()


@pytest.mark.parametrize("out_features", [("x4", "x6"), ("x5", "x3"), ("x3",), ("x6",)])
def test_outputs_are_named_whatever_their_order_and_number(build, out_features):
    full, some = build().eval(), build(out_features=out_features).eval()
    unused = some.load_state_dict(full.state_dict(), strict=False)
    assert unused.missing_keys == []
    x = torch.randn(2, 3, 64, 64)
    expected, features = full(x), some(x)
    assert tuple(features) == tuple(some.output_shape()) == out_features
    for name, value in features.items():
        assert torch.equal(value, expected[name])
    # DistributedDataParallel waits for the gradients of all of them.
    sum(x.sum() for x in some.train()(x).values()).backward()
    assert [name for name, p in some.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize(
    ("out_features", "message"),
    [(("x3", "x7"), r"an entry of out_features is 'x7', .*'x3'"), ((), r"out_features is \[\]")],
)
def test_outputs_that_cannot_be_given_are_named(build, out_features, message):
    with pytest.raises(ValueError, match=message):
        build(out_features=out_features)


@pytest.mark.parametrize("size", [(63, 64), (200, 32)])
def test_images_that_are_too_small_are_refused(build, size):
    with pytest.raises(ValueError, match=rf"{size[0]}x{size[1]} pixels.*at least 64x64"):
        build()(torch.randn(1, 3, *size))


@pytest.mark.parametrize("name", NAMES)
def test_the_settings_come_from_the_config(name):
    backbone = build_backbone(
        tiny_config(MODEL__BACKBONE__NAME=name, MODEL__BACKBONE__NORM="FrozenBN")
    )
    assert list(backbone.output_shape()) == ["x3", "x4", "x5", "x6"]
    assert not [
        n for n, _ in backbone.named_parameters() if n.endswith(("norm.weight", "norm.bias"))
    ]
    assert not [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]


@pytest.mark.parametrize("freeze_at", [1, 4])
def test_frozen_layers_stay_as_they_are_and_the_rest_learns(build, freeze_at):
    model = build(freeze_at=freeze_at).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert 0 < len(trainable) < len(list(model.parameters()))
    optimizer = torch.optim.SGD(trainable, lr=0.1, weight_decay=0.1)
    torch.manual_seed(0)
    for _ in range(2):
        features = model(torch.randn(2, 3, 128, 128))
        optimizer.zero_grad()
        sum(x.square().mean() for x in features.values()).backward()
        optimizer.step()
    after = model.state_dict()
    first = next(name for name, p in model.named_parameters() if p.requires_grad)
    names = list(before)
    frozen = names[: names.index(first)]
    assert frozen
    assert all(torch.equal(before[name], after[name]) for name in frozen)
    running = [name for name in names[names.index(first) :] if name.endswith("running_mean")]
    assert not all(torch.equal(before[name], after[name]) for name in running)


def test_higher_numbers_freeze_more_and_never_the_layers_of_x6(build):
    models = [build(freeze_at=number) for number in range(6)]
    counts = [sum(not p.requires_grad for p in model.parameters()) for model in models]
    assert counts[0] == 0
    assert counts[1] <= counts[2] < counts[3] < counts[4] < counts[5]
    assert counts[5] < len(list(models[0].parameters()))


def test_a_network_without_a_stem_of_stride_two_freezes_its_first_stage():
    model = TimmBackbone(name="convnext_atto", freeze_at=1)
    assert not model.network.stem_0.weight.requires_grad
    assert model.network.stages_1.downsample[0].weight.requires_grad
