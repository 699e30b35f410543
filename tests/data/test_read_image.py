"""Training sees the pixels that Detectron2 reads."""

import numpy as np
import pytest
from detectron2.data import detection_utils
from PIL import Image

from mobileinst_core.video.images import read_image

ORIENTATION = 0x0112


@pytest.mark.parametrize("image_format", ["RGB", "BGR"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "1", "CMYK"])
@pytest.mark.parametrize("orientation", [None, 0, 6, 7, 9])
def test_pixels_are_those_of_detectron2(tmp_path, image_format, mode, orientation):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    exif = Image.Exif()
    if orientation is not None:
        exif[ORIENTATION] = orientation
    path = str(tmp_path / ("a.jpg" if mode == "CMYK" else "a.png"))
    Image.fromarray(pixels).convert(mode).save(path, exif=exif)
    expected = detection_utils.read_image(path, format=image_format)
    np.testing.assert_array_equal(read_image(path, image_format), expected)


def test_a_damaged_exif_block_is_passed_over(tmp_path):
    path = str(tmp_path / "a.jpg")
    Image.new("RGB", (7, 5), (200, 100, 50)).save(path, exif=b"Exif\x00\x00MM\x00*\xff\xff")
    expected = detection_utils.read_image(path, format="BGR")
    np.testing.assert_array_equal(read_image(path), expected)
