import math

import pytest
import torch
import torch.nn.functional as F
from naive_resize import naive_resize
from torch import nn

from mobileinst_d2.modeling.layers import PyramidPooling, bilinear_resize, fix_size_constants


def naive_pooling(image: torch.Tensor, bins: int) -> torch.Tensor:
    """Means over windows that start and end at the fractions of the map, rounded outwards."""
    height, width = image.shape
    pooled = torch.zeros(bins, bins)
    for i in range(bins):
        rows = slice(i * height // bins, math.ceil((i + 1) * height / bins))
        for j in range(bins):
            columns = slice(j * width // bins, math.ceil((j + 1) * width / bins))
            pooled[i, j] = image[rows, columns].mean()
    return pooled


@pytest.mark.parametrize("size", [(2, 2), (1, 3), (5, 7), (12, 18)])
def test_pooled_maps_hold_the_means_of_parts_of_any_map(size):
    bins = (1, 2, 3, 6)
    pooling = PyramidPooling(1, 1, bins)
    for factor, branch in enumerate(pooling.branches, 1):
        nn.init.constant_(branch.conv.weight, factor)
    pooling.bottleneck = nn.Identity()
    x = torch.rand(1, 1, *size)
    *pooled, image = pooling(x)[0]
    assert torch.equal(image, x[0, 0])
    for factor, (n, found) in enumerate(zip(bins, pooled, strict=True), 1):
        expected = factor * naive_resize(naive_pooling(x[0, 0], n).numpy(), size)
        torch.testing.assert_close(found, torch.tensor(expected, dtype=torch.float32))


def test_it_exports_as_products_with_constants_at_sizes_that_the_bins_do_not_divide():
    pooling = PyramidPooling(4, 2).eval()
    x = torch.randn(1, 4, 19, 27)
    expected = pooling(x)
    fix_size_constants(pooling, lambda: pooling(x))
    exported = torch.export.export(pooling, (x,), strict=False)
    calls = [str(node.target) for node in exported.graph.nodes if node.op == "call_function"]
    assert calls
    assert not any("pool" in call for call in calls)
    torch.testing.assert_close(exported.module()(x), expected)
    adaptive = [
        bilinear_resize(branch(F.adaptive_avg_pool2d(x, pool.bins)), (19, 27))
        for pool, branch in zip(pooling.pools, pooling.branches, strict=True)
    ]
    torch.testing.assert_close(expected, pooling.bottleneck(torch.cat((*adaptive, x), dim=1)))
