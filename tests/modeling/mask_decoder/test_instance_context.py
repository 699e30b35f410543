import pytest
import torch
import torch.nn.functional as F

from mobileinst_d2.modeling.mask_decoder import InstanceContextEncoder

CHANNELS, DIM = (4, 6, 8), 16


def naive(encoder: InstanceContextEncoder, maps: list[torch.Tensor]) -> torch.Tensor:
    """The steps of SparseInst's figure, with PyTorch's own pooling."""
    c3, c4, c5 = maps
    l3, l4, l5 = (block.conv for block in encoder.laterals)
    x = l5(c5)
    size = x.shape[-2:]
    pooled = [
        F.interpolate(branch.conv(F.adaptive_avg_pool2d(x, bins)).relu(), size, mode="bilinear")
        for bins, branch in zip((1, 2, 3, 6), encoder.ppm.branches, strict=True)
    ]
    p5 = encoder.ppm.bottleneck.conv(torch.cat((*pooled, x), 1)).relu()
    p4 = l4(c4) + F.interpolate(p5, c4.shape[-2:], mode="nearest")
    p3 = l3(c3) + F.interpolate(p4, c3.shape[-2:], mode="nearest")
    o3, o4, o5 = (
        block.conv(p) for block, p in zip(encoder.top_down.convs, (p3, p4, p5), strict=True)
    )
    resized = [F.interpolate(o, c3.shape[-2:], mode="bilinear") for o in (o4, o5)]
    return encoder.fusion.conv(torch.cat((o3, *resized), 1))


@pytest.mark.parametrize("size", [(32, 32), (19, 27), (8, 8)])
def test_it_is_the_published_encoder_at_even_and_odd_sizes(size):
    encoder = InstanceContextEncoder(CHANNELS, DIM)
    height, width = size
    sizes = [(-(-height // k), -(-width // k)) for k in (1, 2, 4)]
    maps = [torch.randn(2, c, *s) for c, s in zip(CHANNELS, sizes, strict=True)]
    torch.testing.assert_close(encoder(maps), naive(encoder, maps), atol=1e-5, rtol=1e-4)
