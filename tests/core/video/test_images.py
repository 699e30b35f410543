"""Single images: what is read is what the data loader would read."""

import logging

import cv2
import numpy as np
import pytest
from PIL import Image

from mobileinst_core.video.images import (
    ImageReadError,
    VideoIOError,
    list_images,
    read_image,
    read_image_size,
)


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
