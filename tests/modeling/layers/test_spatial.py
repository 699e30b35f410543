import math

import pytest
import torch
import torch.nn.functional as F

from mobileinst_d2.modeling.layers import (
    AveragePool,
    BinAveragePool,
    CoordinateChannels,
    sine_position,
)


def naive_sine_position(height, width, dim):
    """The embedding of DETR and Mask2Former, position by position and channel by channel."""
    half = dim // 2
    table = torch.zeros(height, width, dim)
    for y in range(height):
        for x in range(width):
            for axis, (place, size) in enumerate(((y, height), (x, width))):
                angle = (place + 1) / (size + 1e-6) * 2 * math.pi
                for channel in range(half):
                    value = angle / 10000 ** (2 * (channel // 2) / half)
                    wave = math.sin(value) if channel % 2 == 0 else math.cos(value)
                    table[y, x, axis * half + channel] = wave
    return table.flatten(0, 1)


@pytest.mark.parametrize(("height", "width", "dim"), [(1, 1, 8), (2, 3, 16), (5, 4, 64)])
def test_sine_position_equals_its_definition(height, width, dim):
    expected = naive_sine_position(height, width, dim)
    torch.testing.assert_close(sine_position(height, width, dim), expected, atol=1e-5, rtol=0)


def test_coordinate_channels_run_from_corner_to_corner():
    coordinates = CoordinateChannels()(torch.zeros(2, 5, 3, 4))
    assert coordinates.shape == (2, 2, 3, 4)
    x, y = coordinates[1]
    torch.testing.assert_close(x[2], torch.tensor([-1, -1 / 3, 1 / 3, 1]))
    torch.testing.assert_close(y[:, 1], torch.tensor([-1.0, 0.0, 1.0]))


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
