"""Resized images have the bytes of Pillow's antialiased resize, whichever way they are made."""

import numpy as np
import pytest
from PIL import Image

from mobileinst_core.video.resize import resize_image

# The ratio of the sides, source to result, and sizes in units of it.
RATIOS = [(2, 1), (3, 1), (4, 1), (5, 1), (6, 1), (3, 2), (4, 3), (8, 5), (1, 2), (2, 3), (9, 7)]
SHAPES = [(1, 1), (3, 5), (9, 16), (16, 9), (31, 7)]


def by_pillow(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    resized = Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(resized).transpose(2, 0, 1)


def images(height: int, width: int) -> list[np.ndarray]:
    """Noise, and extremes, whose sums lie half-way between bytes more often."""
    generator = np.random.default_rng(0)
    noise = generator.integers(0, 256, (height, width, 3), np.uint8)
    return [noise, noise // 128 * 255, noise % 2 + 127]


@pytest.mark.parametrize(("before", "after"), RATIOS)
def test_simple_ratios(before, after):
    for rows, columns in SHAPES:
        size = rows * after, columns * after
        for image in images(rows * before, columns * before):
            assert np.array_equal(resize_image(image, size), by_pillow(image, size))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ((48, 85), (36, 64)),  # no simple ratio
        ((40, 60), (20, 60)),  # one axis stays
        ((40, 60), (40, 20)),
        ((40, 60), (20, 20)),  # one ratio for each axis
        ((60, 20), (10, 40)),  # columns first
        ((5, 5000), (1, 640)),
        ((4, 540), (4, 4)),  # more columns in one than OpenCV has channels
        ((30, 40), (30, 40)),
    ],
)
def test_other_sizes(before, after):
    for image in images(*before):
        resized = resize_image(image, after)
        assert resized.flags.c_contiguous
        assert np.array_equal(resized, by_pillow(image, after))


def test_rows_in_many_blocks():
    for image in images(480, 720):
        assert np.array_equal(resize_image(image, (240, 360)), by_pillow(image, (240, 360)))


def test_views_and_reversed_channels():
    image = images(36, 64)[0]
    view = image[4:, ::-1, ::-1]
    expected = by_pillow(np.ascontiguousarray(view), (16, 32))
    assert np.array_equal(resize_image(view, (16, 32)), expected)
    assert np.array_equal(resize_image(view, (16, 32), reverse_channels=True), expected[::-1])
    assert np.array_equal(image, images(36, 64)[0])
