import math

import pytest
import torch

from mobileinst_d2.modeling.layers import CoordinateChannels, sine_position


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
