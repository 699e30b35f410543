"""Reading, listing and writing of images, and the errors that images and videos share."""

import errno
import logging
import os
import re
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from mobileinst_core.errors import UserError

from .pixels import UPRIGHT, decode, upright_size

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
    are taken; see `pixels` for what is refused.

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
            rgb, orientation = decode(image)
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
            return upright_size(image)
    except (UnidentifiedImageError, *_READ_ERRORS) as error:
        raise ImageReadError(f"cannot read the image {path}: {error}") from error


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
    if orientation != UPRIGHT:
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
