"""Images as they are displayed, whatever their orientation tag and number of bits."""

import cv2
import numpy as np
import pytest
from PIL import Image

from mobileinst_core.video.images import ImageReadError, ImageSizeError, read_image, read_image_size

ORIENTATION = 0x0112
# By the EXIF standard: where the first row and the first column of the stored pixels are displayed.
STORED = {
    1: lambda shown: shown,  # top, left
    2: lambda shown: shown[:, ::-1],  # top, right
    3: lambda shown: shown[::-1, ::-1],  # bottom, right
    4: lambda shown: shown[::-1],  # bottom, left
    5: lambda shown: shown.swapaxes(0, 1),  # left, top
    6: lambda shown: shown[:, ::-1].swapaxes(0, 1),  # right, top
    7: lambda shown: shown[::-1, ::-1].swapaxes(0, 1),  # right, bottom
    8: lambda shown: shown[::-1].swapaxes(0, 1),  # left, bottom
}


@pytest.fixture
def shown():
    """Six squares of different colours, (32, 48, 3)."""
    colors = np.random.default_rng(0).integers(0, 256, (2, 3, 3), dtype=np.uint8)
    return colors.repeat(16, axis=0).repeat(16, axis=1)


def save(path, pixels, orientation):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    lossless = {".jpg": {"quality": 100, "subsampling": 0}, ".webp": {"lossless": True}}
    Image.fromarray(np.ascontiguousarray(pixels)).save(
        path, exif=exif, **lossless.get(path.suffix, {})
    )


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_is_read_as_displayed(tmp_path, shown, suffix, orientation):
    path = tmp_path / f"a{suffix}"
    save(path, STORED[orientation](shown), orientation)
    found = read_image(path, "RGB", size=shown.shape[:2], allow_transposed=True)
    assert np.abs(found.astype(int) - shown).max() <= (3 if suffix == ".jpg" else 0)
    assert read_image_size(path) == shown.shape[:2]


@pytest.mark.parametrize("kind", ["I;16", "L", "P", "RGBA"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation_of_files_that_can_be_mapped_into_memory(tmp_path, kind, orientation):
    # Pillow maps such uncompressed TIFF files by their names, with the sides already exchanged.
    path, shown = tmp_path / "a.tif", np.arange(24 * 40, dtype=np.uint16).reshape(24, 40) * 64
    stored = np.ascontiguousarray(STORED[orientation](shown))
    image = Image.fromarray(stored if kind == "I;16" else (stored >> 8).astype(np.uint8))
    image.convert(kind).save(path, tiffinfo={ORIENTATION: orientation})
    assert np.array_equal(read_image(path)[..., 0], shown >> 8)
    assert read_image_size(path) == shown.shape


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
def test_annotations_of_stored_pixels_are_told_from_transposed_frames(tmp_path, shown, suffix):
    path, size = tmp_path / f"a{suffix}", shown.shape[:2]
    save(path, shown, 6)
    with pytest.raises(ImageSizeError, match=r"orientation tag \(6\).*Remove the tag"):
        read_image(path, size=size, allow_transposed=True)
    save(path, shown.swapaxes(0, 1), 1)
    found = read_image(path, "RGB", size=size, allow_transposed=True)
    assert np.abs(found.astype(int) - shown).max() <= 3
    with pytest.raises(ImageSizeError, match="swapped"):
        read_image(path, size=size)


@pytest.mark.parametrize(
    ("suffix", "channels"), [(".png", 1), (".tif", 1), (".pgm", 1), (".png", 3), (".tif", 3)]
)
def test_of_16_bits_the_upper_8_are_read(tmp_path, suffix, channels):
    values = np.array([[0, 255, 256, 4096], [25700, 32768, 65279, 65535]], np.uint16)
    expected = np.array([[0, 0, 1, 16], [100, 128, 254, 255]])
    values, expected = (x[:, :, None].repeat(3, axis=2) for x in (values, expected))
    path = str(tmp_path / f"a{suffix}")
    cv2.imwrite(path, values[:, :, :channels])
    assert np.array_equal(read_image(path), expected)


@pytest.mark.parametrize(
    ("suffix", "pixels", "message"),
    [
        (".png", np.full((4, 5), 4095, np.uint16), "at most 12 bits.*save it with 8 bits"),
        (".tif", np.full((4, 5, 3), 4095, np.uint16), "at most 12 bits.*save it with 8 bits"),
        (".tif", np.zeros((4, 5), np.float32), "floating-point"),
        (".tif", np.zeros((4, 5, 3), np.float32), "floating-point"),
        (".tif", np.zeros((4, 5), np.int8), "with a sign"),
        (".tif", np.zeros((4, 5), np.int16), "with a sign"),
        (".tif", np.zeros((4, 5), np.int32), "with a sign"),
    ],
)
def test_pixels_of_unknown_range_are_refused(tmp_path, suffix, pixels, message):
    path = str(tmp_path / f"a{suffix}")
    cv2.imwrite(path, pixels)
    with pytest.raises(ImageReadError, match=rf"a{suffix}: .*{message}"):
        read_image(path)
