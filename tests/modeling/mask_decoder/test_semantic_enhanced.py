import pytest
import torch
from detectron2.layers import ShapeSpec
from pyramid_features import SHAPES, Scale, constant_features, random_features, small_decoder
from torch import nn

from mobileinst_d2.modeling import MASK_DECODER_REGISTRY
from mobileinst_d2.modeling.mask_decoder import SemanticEnhancedMaskDecoder
from mobileinst_d2.modeling.mask_decoder.semantic_enhanced import Downsample, PyramidRound


class AddGlobal(nn.Module):
    """Stands for a semantic enhancer: adds a multiple of the global feature."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: torch.Tensor, x_global: torch.Tensor) -> torch.Tensor:
        return x + self.factor * x_global.mean()


def scales(*factors: float) -> nn.ModuleList:
    return nn.ModuleList(map(Scale, factors))


def decoder(**options: object) -> SemanticEnhancedMaskDecoder:
    return small_decoder("SemanticEnhancedMaskDecoder", **options)


def test_the_registry_lists_the_decoder():
    assert MASK_DECODER_REGISTRY.get("SemanticEnhancedMaskDecoder") is SemanticEnhancedMaskDecoder


@pytest.mark.parametrize("layout", ["two_rounds", "zigzag"])
@pytest.mark.parametrize("downsample", ["nearest", "max", "bilinear", "conv"])
@pytest.mark.parametrize("size", [(64, 64), (128, 192), (70, 131)])
def test_every_arrangement_takes_every_size(layout, downsample, size):
    features = random_features(*size)
    out = decoder(layout=layout, downsample=downsample).eval()(features)
    expected = features["x3"].shape[-2:]
    assert out.fused.shape == out.x_mask.shape == (2, 12, *expected)
    assert out.mask_features.shape == (2, 8, *expected)


@pytest.mark.parametrize("order", ["sum_conv", "conv_sum"])
@pytest.mark.parametrize("top_down", [True, False])
def test_a_round_sums_and_convolves_in_the_chosen_order(order, top_down):
    level_round = PyramidRound(4, 3, top_down=top_down, order=order)
    level_round.convs = scales(2, 3, 5)
    a, b, c = 1.0, 10.0, 100.0
    levels = [torch.full((1, 4, 16 >> i, 24 >> i), value) for i, value in enumerate((a, b, c))]

    if order == "sum_conv":
        sums = (a + b + c, b + c, c) if top_down else (a, a + b, a + b + c)
        expected = [2 * sums[0], 3 * sums[1], 5 * sums[2]]
    elif top_down:
        expected = [2 * a + 3 * b + 5 * c, 3 * b + 5 * c, 5 * c]
    else:
        expected = [2 * a, 2 * a + 3 * b, 2 * a + 3 * b + 5 * c]

    for x, level, value in zip(level_round(levels), levels, expected, strict=True):
        assert x.shape == level.shape
        torch.testing.assert_close(x, torch.full_like(x, value))


@pytest.mark.parametrize("order", ["sum_conv", "conv_sum"])
def test_two_rounds_follow_the_papers_figure(order):
    model = decoder(pyramid_order=order)
    pyramid = model.pyramid
    pyramid.laterals = scales(2, 3, 5)
    pyramid.top_down.convs = scales(7, 11, 13)
    pyramid.bottom_up.convs = scales(0.5, 0.25, 2)
    pyramid.fusion = Scale(0.1)
    pyramid.enhancers = nn.ModuleDict({"input": AddGlobal(4), "output": AddGlobal(9)})
    x3, x4, x5, x6 = 1.0, 2.0, 3.0, 4.0

    l3, l4, l5 = 2 * x3, 3 * x4, 5 * x5
    l5 += 4 * x6
    if order == "sum_conv":
        t5 = l5
        t4 = l4 + t5
        t3 = l3 + t4
        p3, p4, p5 = 7 * t3, 11 * t4, 13 * t5
        b3 = p3
        b4 = p4 + b3
        b5 = p5 + b4
        n3, n4, n5 = 0.5 * b3, 0.25 * b4, 2 * b5
    else:
        p5 = 13 * l5
        p4 = 11 * l4 + p5
        p3 = 7 * l3 + p4
        n3 = 0.5 * p3
        n4 = 0.25 * p4 + n3
        n5 = 2 * p5 + n4
    n5 += 9 * x6
    fused = 0.1 * (n3 + n4 + n5)

    out = model(constant_features(x3, x4, x5, x6))
    torch.testing.assert_close(out.fused, torch.full_like(out.fused, fused))


@pytest.mark.parametrize("order", ["sum_conv", "conv_sum"])
def test_zigzag_goes_up_down_and_up_again(order):
    model = decoder(layout="zigzag", pyramid_order=order)
    pyramid = model.pyramid
    pyramid.laterals = scales(1, 1, 5)
    pyramid.convs = scales(2, 3, 7, 0.5, 0.25, 4, 0.1)
    pyramid.enhancers = nn.ModuleDict({"input": AddGlobal(6), "output": AddGlobal(9)})
    x3, x4, x5, x6 = 1.0, 2.0, 3.0, 4.0

    def stop(factor, level, carried=0.0):
        return factor * (level + carried) if order == "sum_conv" else factor * level + carried

    c5 = stop(2, 5 * x5 + 6 * x6)
    c4 = stop(3, x4, c5)
    c3 = stop(7, x3, c4)
    c4 = stop(0.5, c4, c3)
    c5 = stop(0.25, c5, c4) + 9 * x6
    c4 = stop(4, c4, c5)
    c3 = stop(0.1, c3, c4)

    out = model(constant_features(x3, x4, x5, x6))
    torch.testing.assert_close(out.fused, torch.full_like(out.fused, c3))


def test_ways_down():
    x = torch.arange(16.0).view(1, 1, 4, 4)
    expected = {
        "nearest": [[0.0, 2.0], [8.0, 10.0]],
        "max": [[5.0, 7.0], [13.0, 15.0]],
        "bilinear": [[2.5, 4.5], [10.5, 12.5]],
    }
    for mode, values in expected.items():
        assert Downsample(mode, 1, "BN")(x, (2, 2))[0, 0].tolist() == values
    learned = Downsample("conv", 4, "BN")
    assert sum(p.numel() for p in learned.parameters()) == 4 * 4 * 9 + 2 * 4


@pytest.mark.parametrize("places", [[], ["input"], ["output"], ["input", "output"]])
@pytest.mark.parametrize("layout", ["two_rounds", "zigzag"])
def test_enhancers_stand_where_they_are_asked_for(places, layout):
    model = decoder(enhancers=places, layout=layout).eval()
    assert set(model.pyramid.enhancers) == set(places)
    features = random_features(64, 64)
    before = model(features).fused
    after = model(features | {"x6": features["x6"] + 1}).fused
    assert torch.equal(before, after) == (not places)


def test_the_global_feature_may_have_its_own_width():
    shapes = SHAPES | {"x6": ShapeSpec(channels=33, stride=64)}
    model = SemanticEnhancedMaskDecoder(shapes, hidden_dim=12, kernel_dim=12).eval()
    features = random_features(64, 64) | {"x6": torch.randn(2, 33, 1, 1)}
    assert model(features).x_mask.shape == (2, 12, 8, 8)


def test_a_kernel_as_wide_as_the_mask_feature_reads_it_directly():
    out = decoder(kernel_dim=12).eval()(random_features(64, 64))
    assert out.mask_features is out.x_mask


def test_mask_convolutions_turn_the_fused_map_into_the_mask_feature():
    none, two = (decoder(num_mask_convs=n).eval() for n in (0, 2))
    features = random_features(64, 64)
    out = none(features)
    assert out.x_mask is out.fused
    assert len(two.mask_branch.convs) == 2
    assert two(features).x_mask.min() == 0  # a ReLU at the end


def test_coordinates_break_the_translation_symmetry():
    features = {name: torch.zeros_like(x) for name, x in random_features(128, 128).items()}
    inner = (slice(None), slice(None), slice(5, 11), slice(5, 11))
    plain = decoder().eval()(features).x_mask[inner]
    placed = decoder(coord_features=True).eval()(features).x_mask[inner]
    assert plain.flatten(2).std(2).max() < 1e-6
    assert placed.flatten(2).std(2).max() > 1e-3


@pytest.mark.parametrize(
    ("strides", "separable"), [((), set()), ((8,), {0}), ((8, 16), {0, 1}), ((32,), {2})]
)
@pytest.mark.parametrize(("layout", "count"), [("two_rounds", 6 + 2 + 1), ("zigzag", 7 + 2 + 1)])
def test_3x3_convolutions_are_separable_at_the_named_strides(strides, separable, layout, count):
    plain, model = (
        decoder(separable_strides=s, layout=layout, downsample="conv").eval() for s in ((), strides)
    )
    features = random_features(70, 131)
    sizes = {-(-70 // stride): level for level, stride in enumerate((8, 16, 32))}
    seen = {}

    def note(layer, inputs, output):
        if layer.kernel_size == (3, 3):
            seen.setdefault(sizes[output.shape[2]], []).append(layer.groups > 1)

    for layer in model.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(note)
    assert model(features).x_mask.shape == plain(features).x_mask.shape
    assert {level for level, flags in seen.items() if all(flags)} == separable
    assert {level for level, flags in seen.items() if any(flags)} == separable
    assert sum(map(len, seen.values())) == count


def test_a_stride_without_a_level_is_named():
    with pytest.raises(ValueError, match=r"SEPARABLE_STRIDES is 4, choose one of \[8, 16, 32\]"):
        decoder(separable_strides=(8, 4))


def test_laterals_have_a_bias_and_pyramid_convolutions_a_normalisation_by_default():
    pyramid = SemanticEnhancedMaskDecoder(SHAPES, hidden_dim=12).pyramid
    assert all(m.conv.bias is not None and m.norm is None for m in pyramid.laterals)
    for conv in (*pyramid.top_down.convs, *pyramid.bottom_up.convs, pyramid.fusion):
        assert conv.conv.bias is None
        assert conv.norm is not None


def test_missing_features_are_named():
    with pytest.raises(ValueError, match=r"needs the features \['x9'\], the backbone gives"):
        decoder(in_features=("x3", "x4", "x9"))


def test_coordinates_without_a_convolution_are_rejected():
    with pytest.raises(ValueError, match="COORD_FEATURES needs NUM_MASK_CONVS of at least 1"):
        decoder(coord_features=True, num_mask_convs=0)
