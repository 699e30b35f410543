import pytest
import torch
from pyramid_features import Scale, constant_features, random_features, small_decoder
from torch import nn

from mobileinst_d2.modeling.layers import ConvNorm
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


@pytest.mark.parametrize(
    ("name", "options"),
    [
        *(("SemanticEnhancedMaskDecoder", {"downsample": x}) for x in ("nearest", "max", "conv")),
        ("SemanticEnhancedMaskDecoder", {"downsample": "bilinear"}),
        *(("FPNPPMMaskDecoder", {"ppm_dim": dim}) for dim in (0, 5)),
    ],
)
@pytest.mark.parametrize("size", [(64, 64), (128, 192), (70, 131)])
def test_every_decoder_takes_every_size(name, options, size):
    features = random_features(*size)
    out = small_decoder(name, **options).eval()(features)
    expected = features["x3"].shape[-2:]
    assert out.fused.shape == out.x_mask.shape == (2, 12, *expected)
    assert out.mask_features.shape == (2, 8, *expected)


@pytest.mark.parametrize("top_down", [True, False])
def test_a_round_sums_and_then_convolves(top_down):
    level_round = PyramidRound(4, 3, top_down=top_down)
    level_round.convs = scales(2, 3, 5)
    a, b, c = 1.0, 10.0, 100.0
    levels = [torch.full((1, 4, 16 >> i, 24 >> i), value) for i, value in enumerate((a, b, c))]
    sums = (a + b + c, b + c, c) if top_down else (a, a + b, a + b + c)
    expected = [2 * sums[0], 3 * sums[1], 5 * sums[2]]
    for x, level, value in zip(level_round(levels), levels, expected, strict=True):
        assert x.shape == level.shape
        torch.testing.assert_close(x, torch.full_like(x, value))


def test_two_rounds_follow_the_papers_figure():
    model = decoder()
    pyramid = model.pyramid
    pyramid.laterals = scales(2, 3, 5)
    pyramid.top_down.convs = scales(7, 11, 13)
    pyramid.bottom_up.convs = scales(0.5, 0.25, 2)
    pyramid.fusion = Scale(0.1)
    pyramid.enhancers = nn.ModuleDict({"input": AddGlobal(4), "output": AddGlobal(9)})
    x3, x4, x5, x6 = 1.0, 2.0, 3.0, 4.0

    l3, l4, l5 = 2 * x3, 3 * x4, 5 * x5
    l5 += 4 * x6
    t5 = l5
    t4 = l4 + t5
    t3 = l3 + t4
    p3, p4, p5 = 7 * t3, 11 * t4, 13 * t5
    b3 = p3
    b4 = p4 + b3
    b5 = p5 + b4
    n3, n4, n5 = 0.5 * b3, 0.25 * b4, 2 * b5
    n5 += 9 * x6
    fused = 0.1 * (n3 + n4 + n5)

    out = model(constant_features(x3, x4, x5, x6))
    torch.testing.assert_close(out.fused, torch.full_like(out.fused, fused))


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
def test_enhancers_stand_where_they_are_asked_for(places):
    model = decoder(enhancers=places).eval()
    assert set(model.pyramid.enhancers) == set(places)
    features = random_features(64, 64)
    before = model(features).fused
    after = model(features | {"x6": features["x6"] + 1}).fused
    assert torch.equal(before, after) == (not places)


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


def test_3x3_convolutions_are_separable_at_the_named_strides():
    pyramid = decoder(separable_strides=(8, 16), downsample="conv").eval().pyramid
    for convs in (pyramid.top_down.convs, pyramid.bottom_up.convs):
        assert [isinstance(conv, ConvNorm) for conv in convs] == [False, False, True]
    ways_down = [isinstance(way.conv, ConvNorm) for way in pyramid.bottom_up.downsamples]
    assert ways_down == [False, True]
    branch = decoder(separable_strides=(8,)).mask_branch
    assert [layer.conv.groups for layer in branch.convs[0]] == [12, 1]
