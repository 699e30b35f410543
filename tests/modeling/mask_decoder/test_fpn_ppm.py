import torch
from pyramid_features import Scale, constant_features, random_features, small_decoder
from torch import nn

from mobileinst_d2.modeling.layers import ConvNorm
from mobileinst_d2.modeling.mask_decoder import FPNPPMMaskDecoder


class SumLevels(nn.Module):
    """Stands for the fusion: adds up the three concatenated levels with weights of their own."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        finest, middle, coarsest = x.chunk(3, dim=1)
        return finest + 10 * middle + 100 * coarsest


def decoder(**options: object) -> FPNPPMMaskDecoder:
    return small_decoder("FPNPPMMaskDecoder", **{"ppm_dim": 5, **options})


def test_levels_are_summed_from_coarse_to_fine_before_their_convolutions():
    model = decoder()
    model.pyramid.laterals = nn.ModuleList(map(Scale, (2, 3, 5)))
    model.pyramid.ppm = Scale(7)
    model.pyramid.top_down.convs = nn.ModuleList(map(Scale, (0.5, 0.25, 11)))
    model.pyramid.fusion = SumLevels()
    x3, x4, x5, x6 = 1.0, 2.0, 3.0, 4.0

    p5 = 7 * 5 * x5
    p4 = 3 * x4 + p5
    p3 = 2 * x3 + p4

    out = model(constant_features(x3, x4, x5, x6))
    expected = 0.5 * p3 + 10 * 0.25 * p4 + 100 * 11 * p5
    torch.testing.assert_close(out.fused, torch.full_like(out.fused, expected))


def test_3x3_convolutions_are_separable_at_the_named_strides():
    model = decoder(separable_strides=(8, 32)).eval()
    whole = [isinstance(conv, ConvNorm) for conv in model.pyramid.top_down.convs]
    assert whole == [False, True, False]
    assert [layer.conv.groups for layer in model.mask_branch.convs[0]] == [12, 1]
    assert model(random_features(64, 64)).x_mask.shape == (2, 12, 8, 8)


def test_the_global_feature_is_not_read():
    features = random_features(64, 64)
    del features["x6"]
    decoder()(features)
