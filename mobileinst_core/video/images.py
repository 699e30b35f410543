"""Reading, listing and writing of images, and the errors that images and videos share.

Images are turned upright once, and have eight bits per channel by one rule: sixteen bits become
eight by their upper half. For numbers whose range the file does not tell there is no right way to
eight bits, so such files are refused: floating-point and signed pixels, 32 bits, and images of
sixteen bits in which only the lower twelve or fewer are used.
"""

import errno
import logging
import os
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from mobileinst_core.errors import UserError

__all__ = [
    "IMAGE_SUFFIXES",
    "DiskFullError",
    "ImageReadError",
    "ImageSizeError",
    "VideoIOError",
    "list_images",
    "natural_key",
    "prepare_output",
    "read_image",
    "read_image_size",
    "write_error",
    "write_image",
]

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")

# What Pillow raises for missing, truncated and damaged files, and for files of more pixels than it
# decodes unless told to.
_READ_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)
_FULL = {errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC)}
_UPRIGHT = 1
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


class VideoIOError(UserError):
    """A video, image or camera that cannot be read or written; the message says why."""


class DiskFullError(VideoIOError):
    """A disk or a quota that is full; what was written before is kept."""


class ImageReadError(VideoIOError):
    """An image file is missing, truncated or no image."""


class ImageSizeError(VideoIOError, ValueError):
    """An image has another size than its annotations say."""


def natural_key(path: str | os.PathLike) -> list[tuple[int, int, str]]:
    """Sort key under which "frame2" comes before "frame10".

    Args:
        path: a file name or path; only the last part counts.

    Returns:
        One (is text, number, text) triple per run of digits or of other characters.
    """
    parts = re.findall(r"\d+|\D+", Path(path).name)
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p.lower()) for p in parts]


def list_images(folder: str | os.PathLike) -> list[Path]:
    """The images directly inside a folder, in natural order.

    Args:
        folder: an existing folder. Other files in it are left out, and their number logged.

    Returns:
        At least one path.

    Raises:
        VideoIOError: the folder cannot be listed or holds no image.
    """
    try:
        entries = list(Path(folder).iterdir())
    except OSError as error:
        raise VideoIOError(f"cannot list the folder {folder}: {error.strerror}.") from error
    files = [path for path in entries if path.is_file()]
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        folders = sorted((path for path in entries if path.is_dir()), key=natural_key)
        hint = f" It has folders: name one of them, such as {folders[0]}." if folders else ""
        raise VideoIOError(
            f"the folder {folder} holds no image ({', '.join(IMAGE_SUFFIXES)}).{hint}"
        )
    if len(images) < len(files):
        logger.info("%s: %d files that are no images left out.", folder, len(files) - len(images))
    return sorted(images, key=natural_key)


def read_image(
    path: str | os.PathLike,
    image_format: str = "BGR",
    *,
    size: tuple[int, int] | None = None,
    allow_transposed: bool = False,
) -> np.ndarray:
    """Read an image file, turned as its orientation tag says, with 8 bits per channel.

    Training, evaluation, demo and tools all read images with this function. Of 16 bits the upper 8
    are taken; the head of this file says what is refused.

    Args:
        path: an image file.
        image_format: order of the channels, "RGB" or "BGR".
        size: (H, W) according to the annotations, in pixels; None = not checked.
        allow_transposed: if the file has exactly this size with the sides swapped, swap
            its axes, with a warning, unless it has an orientation tag. Some videos of YouTube-VIS
            are stored in this way.

    Returns:
        (H, W, 3) uint8.

    Raises:
        ImageReadError: the file is missing, truncated, no image, or its pixels have no known range.
        ImageSizeError: it has another size.
    """
    try:
        with open(path, "rb") as file, Image.open(file) as image:
            rgb, orientation = _decode(image)
    except FileNotFoundError as error:
        raise ImageReadError(f"there is no image file {path}.") from error
    except UnidentifiedImageError as error:
        raise ImageReadError(
            f"cannot read {path}: not an image, a damaged one, or of a kind that Pillow does not "
            "know, such as colours in floating-point numbers."
        ) from error
    except _READ_ERRORS as error:
        raise ImageReadError(f"cannot read the image {path}: {error}.") from error
    pixels = rgb[:, :, ::-1] if image_format == "BGR" else rgb
    if size is not None and pixels.shape[:2] != tuple(size):
        _check_swapped(path, pixels.shape[:2], tuple(size), orientation, allow_transposed)
        _warn_of_transposed_frames(os.path.dirname(path))
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels)


def read_image_size(path: str | os.PathLike) -> tuple[int, int]:
    """Height and width of an image file in pixels, turned as its orientation tag says.

    Mostly the header alone is read; ImageReadError if the file is missing or no image.
    """
    try:
        with open(path, "rb") as file, Image.open(file) as image:
            return _upright_size(image)
    except (UnidentifiedImageError, *_READ_ERRORS) as error:
        raise ImageReadError(f"cannot read the image {path}: {error}") from error


class _Pixels(NamedTuple):
    """A decoded image.

    Attributes:
        rgb: (H, W, 3) uint8, as the image is to be displayed.
        orientation: its tag, 1 to 8; 1 = it was stored upright.
    """

    rgb: np.ndarray
    orientation: int


def _decode(image: Image.Image) -> _Pixels:
    """Decode an image that was opened only.

    Raises:
        ValueError: the range of the pixels is not known; the message says what they are.
    """
    # Before anything decodes the image, as the orientation of a PNG file does.
    if image.format == "PPM" and image.mode == "RGB":
        _take_upper_bits_of_ppm(image)
    has_16_bits = image.mode.startswith("I") or ";16" in str(image.tile)
    orientation = _orientation_of(image)
    _refuse_unknown_range(image)
    image.load()
    if orientation == _UPRIGHT or image.format == _TURNED_BY_PILLOW:
        turned = image
    else:
        turned = image.transpose(_TURNS[orientation])
    rgb = _upper_bits(turned) if has_16_bits else np.asarray(turned.convert("RGB"))
    return _Pixels(rgb, orientation)


def _upright_size(image: Image.Image) -> tuple[int, int]:
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
        return _UPRIGHT
    return orientation if orientation in _TURNS else _UPRIGHT


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


def _take_upper_bits_of_ppm(image: Image.Image) -> None:
    """Have colours of 16 bits decoded as those of other formats; Pillow would round them."""
    codec, extents, offset, args = image.tile[0]
    if args == ("RGB", 65535):
        if codec == "ppm_plain":
            raise ValueError("its colours of 16 bits are written as text; save it as a binary PPM")
        image.tile = [("raw", extents, offset, "RGB;16B")]


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


def _check_swapped(
    path: str | os.PathLike,
    found: tuple[int, int],
    size: tuple[int, int],
    orientation: int,
    allow_transposed: bool,
) -> None:
    """Raise an error unless only the axes of the stored pixels are swapped."""
    message = (
        f"the image {path} has height x width {found[0]} x {found[1]}, but its annotations say "
        f"{size[0]} x {size[1]}."
    )
    if found[::-1] != size:
        raise ImageSizeError(f"{message} Check the annotation file and the image folder.")
    if orientation != _UPRIGHT:
        raise ImageSizeError(
            f"{message} It has an orientation tag ({orientation}), by which it is turned when it "
            "is displayed; the annotations seem to be of the pixels as they are stored. Remove the "
            "tag from the file, or annotate the image as it is displayed."
        )
    if not allow_transposed:
        raise ImageSizeError(
            f"{message} Height and width are swapped in one of the two; check the annotations."
        )


@lru_cache(maxsize=1024)
def _warn_of_transposed_frames(folder: str) -> None:
    """Once for each folder."""
    logger.warning(
        "Frames in %s have the sides swapped with respect to the annotations; they are transposed.",
        folder,
    )


def write_image(path: str | os.PathLike, image: np.ndarray, *, overwrite: bool = False) -> None:
    """Write one image file, with its folder if that is missing.

    Args:
        path: the file; its suffix (see `IMAGE_SUFFIXES`) chooses the format.
        image: (H, W, 3) uint8, BGR; or (H, W) uint16, which PNG and TIFF can hold.
        overwrite: replace an existing file.

    Raises:
        VideoIOError: the file cannot be written: unknown suffix, no permission, it exists, the
            disk is full.
    """
    path = Path(path)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise VideoIOError(
            f"cannot write an image to {path}: the suffix must be one of "
            f"{', '.join(IMAGE_SUFFIXES)}."
        )
    prepare_output(path, overwrite=overwrite)
    ok, content = cv2.imencode(path.suffix, image)
    if not ok:
        raise VideoIOError(f"OpenCV cannot encode {path}.")
    try:
        # OpenCV's own writing does not report a full disk.
        path.write_bytes(content)
    except OSError as error:
        if path.is_file():
            path.unlink()  # what is there of it is no image
        raise write_error(path, error) from error


def prepare_output(path: Path, *, overwrite: bool) -> None:
    """Make sure that a file can be written: make its folder and try.

    Args:
        path: the file to be written. What it holds already stays as it is.
        overwrite: whether an existing file may be replaced.

    Raises:
        VideoIOError: it exists, is a folder, or cannot be written.
    """
    if path.is_dir():
        raise VideoIOError(f"{path} is a folder, not a file to write.")
    exists = path.exists()
    if exists and not overwrite:
        raise VideoIOError(f"{path} exists already; --overwrite replaces it.")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab"):
            pass
        if not exists:
            path.unlink()
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: str | os.PathLike, error: OSError, what: str = "write") -> VideoIOError:
    """The error for the user where a file cannot be written.

    Args:
        path: the file.
        error: what the system says.
        what: what was done to the file.

    Returns:
        A `DiskFullError` if there is no space left.
    """
    kind = DiskFullError if error.errno in _FULL else VideoIOError
    return kind(f"cannot {what} {path}: {error.strerror}.")
