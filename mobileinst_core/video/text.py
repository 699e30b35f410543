"""Text in any script that a font here can draw.

OpenCV's own fonts draw Latin letters in version 4; from version 5 on also Greek, Cyrillic, Chinese,
Japanese and Korean. What they lack, or write from the wrong side, is drawn by Pillow with a font
that is installed.
"""

import importlib.util
import logging
import os
import sys
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple, Protocol

import cv2
import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

__all__ = ["TextSize", "draw_text", "text_size"]

logger = logging.getLogger(__name__)

_FONT = cv2.FONT_HERSHEY_DUPLEX
# Size of a font in pixels that is as large as OpenCV's at scale 1.
_PIXELS = 36
# What is beside the names of classes.
_ALSO_NEEDED = frozenset("#.0123456789")
_RIGHT_TO_LEFT = ("R", "AL")
# Fonts that are looked at first: plain ones, and those made for many scripts.
_PREFERRED = ("notosans", "dejavusans", "arialuni", "segoeui", "nirmala", "arial")
_FANCY = ("bold", "italic", "oblique", "mono", "serif", "light", "thin", "black")


class TextSize(NamedTuple):
    """The size of a text in pixels: its width, and its height above the baseline and below."""

    width: int
    height: int
    baseline: int


def text_size(text: str, scale: float) -> TextSize:
    """Measure one line of text.

    Args:
        text: the line.
        scale: 1 = letters of about 22 pixels, as with OpenCV.
    """
    return _face(text).size(text, scale)


def draw_text(
    image: np.ndarray,
    text: str,
    origin: tuple[int, int],
    scale: float,
    color: tuple[int, int, int],
) -> None:
    """Write a text; what lies outside the image is cut off.

    Args:
        image: (H, W, 3) uint8, BGR, drawn on in place.
        text: one line.
        origin: x and y of the left end of the baseline.
        scale: see `text_size`.
        color: of the letters, BGR.
    """
    _face(text).draw(image, text, origin, scale, color)


class _Face(Protocol):
    def size(self, text: str, scale: float) -> TextSize: ...

    def draw(
        self,
        image: np.ndarray,
        text: str,
        origin: tuple[int, int],
        scale: float,
        color: tuple[int, int, int],
    ) -> None: ...


class _OpenCvFace:
    def size(self, text: str, scale: float) -> TextSize:
        (width, height), baseline = cv2.getTextSize(text, _FONT, scale, 1)
        return TextSize(width, height, baseline)

    def draw(
        self,
        image: np.ndarray,
        text: str,
        origin: tuple[int, int],
        scale: float,
        color: tuple[int, int, int],
    ) -> None:
        cv2.putText(image, text, origin, _FONT, scale, color, 1, cv2.LINE_AA)


class _PillowFace:
    def __init__(self, path: Path) -> None:
        self.path = path

    def size(self, text: str, scale: float) -> TextSize:
        font = self._font(scale)
        left, top, right, bottom = font.getbbox(text, anchor="ls", direction=_direction())
        return TextSize(int(right - left), int(-top), int(max(bottom, 0)))

    def draw(
        self,
        image: np.ndarray,
        text: str,
        origin: tuple[int, int],
        scale: float,
        color: tuple[int, int, int],
    ) -> None:
        drawn = Image.new("L", image.shape[1::-1])
        ImageDraw.Draw(drawn).text(
            origin, text, 255, self._font(scale), anchor="ls", direction=_direction()
        )
        opacity = np.asarray(drawn, np.float32)[:, :, None] / 255
        image[:] = (image + opacity * (np.array(color, np.float32) - image)).round()

    def _font(self, scale: float) -> ImageFont.FreeTypeFont:
        return _font(self.path, max(1, round(_PIXELS * scale)))


_OPENCV = _OpenCvFace()


@lru_cache(maxsize=1)
def _direction() -> str | None:
    """Labels begin with a number on the left, whatever the script of the name in them."""
    return "ltr" if features.check("raqm") else None  # without Raqm, Pillow knows no directions


def _face(text: str) -> _Face:
    """What draws a text."""
    return _OPENCV if text.isascii() else _face_of(frozenset(x for x in text if not x.isascii()))


@lru_cache(maxsize=256)
def _face_of(characters: frozenset[str]) -> _Face:
    if all(map(_is_known_to_opencv, characters)):
        return _OPENCV
    for path in _installed_fonts():
        if _has_all(path, characters | _ALSO_NEEDED):
            return _PillowFace(path)
    logger.warning(
        "No font here has all of the letters %s, so question marks are drawn. Install one that "
        "has, for example a Noto font for the script.",
        "".join(sorted(characters)),
    )
    return _OPENCV


@lru_cache(maxsize=4096)
def _is_known_to_opencv(character: str) -> bool:
    if int(cv2.__version__.split(".")[0]) < 5:
        return False
    if unicodedata.bidirectional(character) in _RIGHT_TO_LEFT:
        return False
    # What it does not know becomes a question mark.
    found, unknown = (np.zeros((48, 64), np.uint8) for _ in range(2))
    for image, text in ((found, character), (unknown, "?")):
        cv2.putText(image, text, (8, 36), _FONT, 1, 255, 1)
    return not np.array_equal(found, unknown)


def _has_all(path: Path, characters: frozenset[str]) -> bool:
    try:
        font = _font(path, 16)
        # No font may have this one: it is drawn as what is missing.
        missing = _pixels(font, "\U0010ffff")
        return all(_pixels(font, x) != missing for x in characters)
    except OSError:  # not a font after all, or without such sizes
        return False


def _pixels(font: ImageFont.FreeTypeFont, character: str) -> tuple[tuple[int, int], bytes]:
    mask = font.getmask(character)
    return mask.size, bytes(mask)


@lru_cache(maxsize=64)
def _font(path: Path, size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(path, size)


@lru_cache(maxsize=1)
def _installed_fonts() -> list[Path]:
    """Files of fonts, the plain ones first."""
    suffixes = (".otf", ".ttc", ".ttf")
    found = {
        path
        for folder in _font_folders()
        for path in folder.rglob("*")
        # A font of last resort has a box for every letter.
        if path.suffix.lower() in suffixes and "lastresort" not in path.name.lower()
    }
    return sorted(found, key=_strangeness)


def _strangeness(path: Path) -> tuple[bool, bool, str]:
    name = path.stem.lower().replace("-", "").replace("_", "")
    is_preferred = name.startswith(_PREFERRED)
    return any(word in name for word in _FANCY), not is_preferred, str(path)


def _font_folders() -> Iterator[Path]:
    home = Path.home()
    if sys.platform == "darwin":
        folders = [Path("/System/Library/Fonts"), Path("/Library/Fonts"), home / "Library/Fonts"]
    elif sys.platform == "win32":
        folders = [Path(os.environ.get("WINDIR", "C:/Windows")) / "Fonts"]
        folders.append(home / "AppData/Local/Microsoft/Windows/Fonts")
    else:
        folders = [Path("/usr/share/fonts"), Path("/usr/local/share/fonts")]
        folders += [home / ".local/share/fonts", home / ".fonts"]
    # Detectron2 needs Matplotlib, which comes with a font for many scripts.
    matplotlib = importlib.util.find_spec("matplotlib")
    if matplotlib is not None and matplotlib.origin:
        folders.append(Path(matplotlib.origin).parent / "mpl-data" / "fonts" / "ttf")
    return filter(Path.is_dir, folders)
