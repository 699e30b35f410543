"""Single images: what is read is what the data loader would read, and as it is displayed."""

import logging

import cv2
import numpy as np
import pytest
from PIL import Image

from mobileinst_core.video.images import (
    ImageReadError,
    ImageSizeError,
    VideoIOError,
    list_images,
    read_image,
    read_image_size,
)

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


def test_list_images_leaves_out_other_files_and_says_so(tmp_path, caplog):
    for name in ("img2.jpg", "img10.JPG", "img1.png", "readme.md"):
        (tmp_path / name).touch()
    (tmp_path / "folder.jpg").mkdir()
    with caplog.at_level(logging.INFO):
        assert [path.name for path in list_images(tmp_path)] == [
            "img1.png",
            "img2.jpg",
            "img10.JPG",
        ]
    assert "1 files" in caplog.text


def test_list_images_names_what_is_missing(tmp_path):
    with pytest.raises(VideoIOError, match="holds no image"):
        list_images(tmp_path)
    for name in ("clip10", "clip2"):
        (tmp_path / name).mkdir()
    with pytest.raises(VideoIOError, match=r"name one of them, such as .*clip2\."):
        list_images(tmp_path)
    with pytest.raises(VideoIOError, match="cannot list the folder"):
        list_images(tmp_path / "missing")


def test_unreadable_images_are_named(tmp_path):
    with pytest.raises(VideoIOError, match=r"no image file .*gone\.png"):
        read_image(tmp_path / "gone.png")
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(VideoIOError, match=r"text\.png"):
        read_image(tmp_path / "text.png")
    noise = np.random.default_rng(0).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "whole.jpg"), noise)
    (tmp_path / "half.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:2000])
    with pytest.raises(VideoIOError, match=r"half\.jpg"):
        read_image(tmp_path / "half.jpg")


def test_an_image_that_pillow_takes_for_a_bomb_is_named(tmp_path, monkeypatch):
    cv2.imwrite(str(tmp_path / "huge.png"), np.zeros((40, 60, 3), np.uint8))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    for read in (read_image, read_image_size):
        with pytest.raises(ImageReadError, match=r"huge\.png: .*2400 pixels"):
            read(tmp_path / "huge.png")


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
    ("suffix", "channels"),
    [(".png", 1), (".tif", 1), (".pgm", 1), (".png", 3), (".tif", 3), (".ppm", 3)],
)
def test_of_16_bits_the_upper_8_are_read(tmp_path, suffix, channels):
    values = np.array([[0, 255, 256, 4096], [25700, 32768, 65279, 65535]], np.uint16)
    expected = np.array([[0, 0, 1, 16], [100, 128, 254, 255]])
    values, expected = (x[:, :, None].repeat(3, axis=2) for x in (values, expected))
    path = str(tmp_path / f"a{suffix}")
    cv2.imwrite(path, values[:, :, :channels])
    assert np.array_equal(read_image(path), expected)


@pytest.mark.parametrize("kind", [b"P5", b"P6"])
def test_the_largest_value_of_a_ppm_is_white(tmp_path, kind):
    path = tmp_path / "a.ppm"
    pixels = np.array([0, 500, 1000], ">u2").repeat(3 if kind == b"P6" else 1)
    path.write_bytes(kind + b" 3 1 1000\n" + pixels.tobytes())
    assert read_image(path)[0].tolist() == [[0] * 3, [128] * 3, [255] * 3]


def test_colours_of_16_bits_as_text_are_refused(tmp_path):
    (tmp_path / "a.ppm").write_bytes(b"P3 1 1 65535\n255 40000 65535")
    with pytest.raises(ImageReadError, match=r"a.ppm: .*16 bits.*text; save it as a binary PPM"):
        read_image(tmp_path / "a.ppm")


@pytest.mark.parametrize(
    ("suffix", "pixels", "message"),
    [
        (".png", np.full((4, 5), 4095, np.uint16), "at most 12 bits.*save it with 8 bits"),
        (".tif", np.full((4, 5, 3), 4095, np.uint16), "at most 12 bits.*save it with 8 bits"),
        (".ppm", np.full((4, 5, 3), 4095, np.uint16), "at most 12 bits.*save it with 8 bits"),
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
