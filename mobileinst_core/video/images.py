"""Reading, listing and writing of single images, and the error that images and videos share."""

import logging
import os
import re
from pathlib import Path

import cv2
import numpy as np
from detectron2.data.detection_utils import read_image
from PIL import UnidentifiedImageError

__all__ = [
    "IMAGE_SUFFIXES",
    "VideoIOError",
    "list_images",
    "natural_key",
    "prepare_output",
    "read_frame",
    "write_image",
]

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")


class VideoIOError(RuntimeError):
    """A video, image or camera that cannot be read or written; the message says why."""


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
        files = [path for path in Path(folder).iterdir() if path.is_file()]
    except OSError as error:
        raise VideoIOError(f"cannot list the folder {folder}: {error.strerror}.") from error
    images = [path for path in files if path.suffix.lower() in IMAGE_SUFFIXES]
    if not images:
        raise VideoIOError(f"the folder {folder} holds no image ({', '.join(IMAGE_SUFFIXES)}).")
    if len(images) < len(files):
        logger.info("%s: %d files that are no images left out.", folder, len(files) - len(images))
    return sorted(images, key=natural_key)


def read_frame(path: str | os.PathLike) -> np.ndarray:
    """Read one image file, turned as its EXIF orientation says.

    Args:
        path: an image file.

    Returns:
        (H, W, 3) uint8, BGR.

    Raises:
        VideoIOError: the file is missing, or no image that Pillow can read.
    """
    if not Path(path).is_file():
        raise VideoIOError(f"there is no image file {path}.")
    try:
        return np.ascontiguousarray(read_image(str(path), format="BGR"))
    except UnidentifiedImageError as error:
        raise VideoIOError(f"cannot read {path}: not an image, or a damaged one.") from error
    except (OSError, SyntaxError, ValueError) as error:  # Pillow raises these on damaged data
        raise VideoIOError(f"cannot read the image {path}: {error}.") from error


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
        raise VideoIOError(f"cannot write {path}: {error.strerror}.") from error


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
        raise VideoIOError(f"cannot write {path}: {error.strerror}.") from error
