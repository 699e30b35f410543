"""Class names in many scripts."""

import logging

import cv2
import numpy as np
import pytest

from mobileinst_core.video import text
from mobileinst_core.video.text import draw_text, text_size


@pytest.fixture(autouse=True)
def _fresh():
    """Forget which fonts were found."""
    caches = (text._face_of, text._is_known_to_opencv, text._installed_fonts)
    for function in caches:
        function.cache_clear()
    yield
    for function in caches:
        function.cache_clear()


@pytest.fixture
def opencv(monkeypatch):
    """Take another major version of OpenCV for granted."""

    def pretend(version):
        for function in (text._face_of, text._is_known_to_opencv):
            function.cache_clear()
        monkeypatch.setattr(text.cv2, "__version__", version)

    return pretend


def drawn(label, scale=1.0):
    """The label as white letters on black, 60 pixels high, on its own baseline."""
    image = np.zeros((60, 400, 3), np.uint8)
    draw_text(image, label, (10, 40), scale, (255, 255, 255))
    return image


def question_marks(label):
    image = np.zeros((60, 400, 3), np.uint8)
    font = cv2.FONT_HERSHEY_DUPLEX
    cv2.putText(image, "?" * len(label), (10, 40), font, 1.0, (255, 255, 255), 1, cv2.LINE_AA)
    return image


# Matplotlib, which Detectron2 needs, comes with a font for all of these.
@pytest.mark.parametrize("label", ["Größe", "кошка", "γάτα", "قطة", "חתול", "mèo"])
@pytest.mark.parametrize("version", ["4.12.0", cv2.__version__])
def test_scripts_are_drawn_and_measured(label, opencv, version, caplog):
    opencv(version)
    image = drawn(label)
    rows, columns = np.nonzero(image.any(axis=2))
    size = text_size(label, 1.0)
    assert columns.max() - columns.min() + 1 == pytest.approx(size.width, rel=0.1)
    assert columns.min() >= 8
    assert 40 - rows.min() <= size.height + 2
    assert rows.max() - 40 <= size.baseline + 2
    assert not np.array_equal(image, question_marks(label))
    assert "No font" not in caplog.text


@pytest.mark.skipif(int(cv2.__version__.split(".")[0]) < 5, reason="needs the fonts of OpenCV 5")
@pytest.mark.parametrize("label", ["人物", "ネコ", "고양이"])
def test_east_asian_names_need_no_installed_font(label, monkeypatch, caplog):
    monkeypatch.setattr(text, "_installed_fonts", lambda: [])
    assert not np.array_equal(drawn(label), question_marks(label))
    assert "No font" not in caplog.text


def test_letters_that_no_font_has_are_told_once(monkeypatch, caplog):
    monkeypatch.setattr(text, "_installed_fonts", lambda: [])
    with caplog.at_level(logging.WARNING):
        for score in (".87", ".88"):
            drawn(f"#1 \u1208 {score}")
    assert len(caplog.records) == 1
    assert "letters \u1208" in caplog.text
    assert "Noto" in caplog.text


def test_text_of_an_installed_font_is_blended_and_cut_off_at_the_border():
    image = np.full((30, 40, 3), 100, np.uint8)
    draw_text(image, "חתול חתול", (5, 20), 1.0, (0, 200, 255))
    changed = (image != 100).any(axis=2)
    assert changed.any()
    assert (image[changed] <= [100, 200, 255]).all()
    assert (image[changed] >= [0, 100, 100]).all()
