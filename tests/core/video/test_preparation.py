"""Frames of networks have the size and the pixels that Detectron2's transforms give."""

import numpy as np
import pytest
from detectron2.data import transforms as T

from mobileinst_core.errors import ConfigError
from mobileinst_core.video.preparation import FramePreparation, size_by_shortest_edge, size_to_fit


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize("channels", ["RGB", "BGR"])
@pytest.mark.parametrize("size", [(72, 128), (128, 72), (50, 50), (31, 200), (100, 133)])
def test_pixels_are_those_of_detectron2(size, channels):
    frame = noise(*size)
    transform = T.ResizeShortestEdge([100], 150, "choice").get_transform(frame)
    expected = transform.apply_image(frame[:, :, ::-1] if channels == "RGB" else frame)
    image = FramePreparation(min_size=100, max_size=150, channels=channels)(frame)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    assert np.array_equal(image, expected.transpose(2, 0, 1))


def test_pixels_of_a_fixed_size_are_those_of_detectron2():
    frame = noise(90, 77)
    expected = T.ResizeTransform(90, 77, 64, 55).apply_image(frame)
    image = FramePreparation(fixed_size=(64, 128), channels="BGR")(frame)
    assert np.array_equal(image, expected.transpose(2, 0, 1))


@pytest.mark.parametrize(
    "size", [(480, 640), (640, 480), (100, 100), (33, 1000), (1, 5000), (721, 1283)]
)
@pytest.mark.parametrize(("min_size", "max_size"), [(640, 864), (360, 640), (100, 2000), (7, 9)])
def test_sizes_by_the_shortest_edge_are_those_of_detectron2(size, min_size, max_size):
    expected = T.ResizeShortestEdge.get_output_shape(*size, min_size, max_size)
    assert size_by_shortest_edge(size, min_size, max_size) == expected


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((64, 128), (64, 128)),
        ((360, 640), (64, 114)),
        ((10, 40), (32, 128)),  # enlarged until the width fits
        ((2, 5000), (1, 128)),
        ((5000, 1), (64, 1)),
    ],
)
def test_a_size_that_fits_keeps_the_aspect_ratio(size, expected):
    assert size_to_fit(size, (64, 128)) == expected


@pytest.mark.parametrize(("size", "expected"), [((1, 3000), (1, 96)), ((3000, 1), (96, 1))])
def test_of_a_line_a_pixel_is_left(size, expected):
    """Detectron2 fails, as half a pixel and less is none."""
    assert FramePreparation(min_size=64, max_size=96)(noise(*size)).shape[1:] == expected


@pytest.mark.parametrize(
    "frame",
    [np.zeros((9, 8), np.uint8), np.zeros((9, 8, 4), np.uint8), np.zeros((9, 8, 3)), [[1, 2]]],
)
def test_what_is_no_image_in_bgr_is_refused_by_name(frame):
    kind = getattr(frame, "dtype", "list")
    with pytest.raises(ValueError, match=rf"\(H, W, 3\) of uint8, got {kind} of shape \("):
        FramePreparation(min_size=32)(frame)


def test_another_order_of_channels_is_refused():
    with pytest.raises(ConfigError, match="channels is 'rgb', choose one of"):
        FramePreparation(channels="rgb")
