"""Pixels of image files: turned upright once, with eight bits per channel by one rule.

Sixteen bits become eight by their upper half. For numbers whose range the file does not tell there
is no right way to eight bits, so such files are refused: floating-point and signed pixels, 32 bits,
and images of sixteen bits in which only the lower twelve or fewer are used.
"""

from typing import Any, NamedTuple

import numpy as np
from PIL import ExifTags, Image

__all__ = ["UPRIGHT", "Pixels", "decode", "upright_size"]

UPRIGHT = 1
# How an image is to be turned for each value of its orientation tag.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_EXCHANGE_SIDES = (5, 6, 7, 8)
# Pillow turns these itself while it decodes them.
_TURNED_BY_PILLOW = "TIFF"
# In files of these formats Pillow's mode "I" means 16 bits without a sign.
_UNSIGNED_16_BITS = ("PNG", "PPM")
_SAMPLE_FORMAT_TAG, _SIGNED = 339, 2
# An image of 16 bits without a larger value uses at most 12 of them.
_LARGEST_OF_12_BITS = 4095


class Pixels(NamedTuple):
    """A decoded image.

    Attributes:
        rgb: (H, W, 3) uint8, as the image is to be displayed.
        orientation: its tag, 1 to 8; 1 = it was stored upright.
    """

    rgb: np.ndarray
    orientation: int


def decode(image: Image.Image) -> Pixels:
    """Decode an image that was opened only.

    Raises:
        ValueError: the range of the pixels is not known; the message says what they are.
    """
    # Before anything decodes the image, as the orientation of a PNG file does.
    has_16_bits = image.mode.startswith("I") or ";16" in str(image.tile)
    orientation = _orientation_of(image)
    _refuse_unknown_range(image)
    image.load()
    if orientation == UPRIGHT or image.format == _TURNED_BY_PILLOW:
        turned = image
    else:
        turned = image.transpose(_TURNS[orientation])
    rgb = _upper_bits(turned) if has_16_bits else np.asarray(turned.convert("RGB"))
    return Pixels(rgb, orientation)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Height and width of an opened image as it is displayed, if possible from its header alone."""
    exchange = _orientation_of(image) in _EXCHANGE_SIDES
    if image.format == _TURNED_BY_PILLOW:
        # Versions of Pillow differ in when they exchange the sides.
        image.load()
        exchange = False
    width, height = image.size
    return (width, height) if exchange else (height, width)


def _orientation_of(image: Image.Image) -> int:
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    # Pillow raises various types for various damages; without the tag the image is upright.
    except Exception:
        return UPRIGHT
    return orientation if orientation in _TURNS else UPRIGHT


def _refuse_unknown_range(image: Image.Image) -> None:
    kind = None
    if image.mode.startswith("F"):
        kind = "floating-point numbers"
    elif image.mode == "I" and image.format not in _UNSIGNED_16_BITS:
        kind = "numbers with a sign or of 32 bits"
    elif _SIGNED in _as_tuple(getattr(image, "tag_v2", {}).get(_SAMPLE_FORMAT_TAG)):
        kind = "numbers with a sign"
    if kind:
        raise ValueError(
            f"its pixels are {kind}, of which the file does not tell the range; save it with 8 or "
            "16 bits per channel, without a sign"
        )


def _upper_bits(image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 of a decoded image that has 16 bits in its file."""
    if image.mode.startswith("I"):
        values = np.asarray(image)
        largest = int(values.max())
        rgb = np.repeat((values >> 8).astype(np.uint8)[:, :, None], 3, axis=2)
    else:
        # Of colours, Pillow has kept the upper eight bits.
        rgb = np.asarray(image.convert("RGB"))
        largest = int(rgb.max()) << 8 | int(rgb.any()) * 255
    if 0 < largest <= _LARGEST_OF_12_BITS:
        raise ValueError(
            f"its pixels have 16 bits but no value above {largest}, so that at most 12 bits of "
            "them are used, and the file does not say how many; save it with 8 bits per channel"
        )
    return rgb


def _as_tuple(value: Any) -> tuple:
    return value if isinstance(value, tuple) else (value,)
