import pytest
import torch
import torch.nn.functional as F

from mobileinst_d2.modeling.layers import AveragePool, BinAveragePool


@pytest.mark.parametrize(
    ("shape", "size"), [((8, 12), (2, 3)), ((8, 12), (8, 1)), ((9, 7), (5, 4)), ((8, 7), (2, 4))]
)
def test_average_pooling_equals_pytorchs(shape, size):
    x = torch.randn(2, 3, *shape)
    torch.testing.assert_close(AveragePool()(x, size), F.adaptive_avg_pool2d(x, size))


@pytest.mark.parametrize("bins", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [(1, 1), (2, 5), (12, 6), (20, 28), (19, 7)])
def test_pooling_with_matrices_equals_pytorchs(bins, shape):
    x = torch.randn(2, 3, *shape)
    torch.testing.assert_close(
        BinAveragePool(bins)(x), F.adaptive_avg_pool2d(x, bins), atol=1e-6, rtol=1e-5
    )
