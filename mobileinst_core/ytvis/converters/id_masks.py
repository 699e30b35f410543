"""Videos from images whose pixels hold the number of the object that they show, as in DAVIS."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from mobileinst_core.errors import UserError
from mobileinst_core.masks.rle import encode_mask

from .content import AnnotatedVideo, Track, number_classes
from .folders import ClassFile, check_size, list_frames, read_class_file

__all__ = ["IdMaskVideos", "read_id_mask"]

_SUFFIX = ".png"
_BACKGROUND = 0
# In images of 8 bits this marks pixels that nobody annotated.
_VOID = 255
_DEFAULT_CLASS = "object"


class IdMaskVideos:
    """Folders of PNG files, one file per annotated frame and one folder per video.

    See :func:`read_id_mask` for the kinds of images, and :func:`~.folders.list_frames` for
    where images and masks lie. An object is the pixels of one number in all frames of a video.
    """

    def __init__(
        self,
        mask_root: str | os.PathLike,
        image_root: str | os.PathLike,
        *,
        class_file: str | os.PathLike | None = None,
        ignore: Collection[int] | None = None,
        keep_unannotated: bool = False,
    ) -> None:
        """Find the files; no image is read.

        Args:
            mask_root: folder of the masks.
            image_root: folder of the images.
            class_file: names the classes of the objects, see :func:`~.folders.read_class_file`;
                its ``videos`` may be absent if there is one class. None = the one class "object".
            ignore: numbers that are no object; 0 never is. None = 255 in images of 8 bits.
            keep_unannotated: see :func:`~.folders.list_frames`.

        Raises:
            UserError: files are missing or do not belong together, or ``class_file`` cannot be
                read or is malformed.
        """
        self._image_root = Path(image_root)
        self._ignore = ignore
        self._classes = (
            ClassFile([_DEFAULT_CLASS]) if class_file is None else read_class_file(class_file)
        )
        self._videos = list_frames(
            image_root, mask_root, _SUFFIX, keep_unannotated=keep_unannotated
        )

    @property
    def categories(self) -> list[dict[str, Any]]:
        """The classes, numbered from 1."""
        return number_classes(self._classes.classes)

    def __len__(self) -> int:
        """Number of videos."""
        return len(self._videos)

    def __iter__(self) -> Iterator[AnnotatedVideo]:
        """Read the masks of one video after the other.

        Raises:
            UserError: a file is damaged, has another size, or shows an object without a class.
        """
        for name, frames in self._videos.items():
            yield self._read_video(name, frames)

    def _read_video(self, name: str, frames: list[tuple[str, Path | None]]) -> AnnotatedVideo:
        tracks: dict[int, Track] = {}
        size, ignored = None, False
        for frame, (image, path) in enumerate(frames):
            size = check_size(self._image_root / image, size)
            if path is None:
                continue
            ids = read_id_mask(path)
            if ids.shape != size:
                raise UserError(
                    f"{path} has {ids.shape[0]} x {ids.shape[1]} pixels (height x width), but its "
                    f"image has {size[0]} x {size[1]}"
                )
            for number in np.unique(ids).tolist():
                if number == _BACKGROUND:
                    continue
                if self._is_ignored(number, ids.dtype):
                    ignored = True
                    continue
                if number not in tracks:
                    tracks[number] = Track(self._class_of(name, number), [None] * len(frames))
                tracks[number].masks[frame] = encode_mask(ids == number)
        if ignored and not tracks:
            raise UserError(
                f"the masks of video {name} hold nothing but background and ignored pixels. If "
                "they are masks of one object, white on black, ignore nothing: --ignore without a "
                "number"
            )
        ordered = [tracks[number] for number in sorted(tracks)]
        return AnnotatedVideo([image for image, _ in frames], *size, ordered)

    def _is_ignored(self, number: int, dtype: np.dtype) -> bool:
        if self._ignore is None:
            return number == _VOID and dtype == np.uint8
        return number in self._ignore

    def _class_of(self, video: str, number: int) -> str:
        classes = self._classes.classes
        objects = self._classes.videos.get(video, {})
        if number in objects:
            return objects[number]
        if len(classes) == 1:
            return classes[0]
        raise UserError(
            f"object {number} of video {video} has no class; add it to 'videos' in the file of "
            "--categories"
        )


def read_id_mask(path: str | os.PathLike) -> np.ndarray:
    """Read the object numbers of an image.

    They are the indices of an image with a palette, the values of a grey one of 8 or 16 bits, and
    red + 256 green + 65536 blue of one in colour, so that each colour is one object.

    Args:
        path: the image.

    Returns:
        (H, W) integers, 0 = background; uint8 if the image has 8 bits per pixel.

    Raises:
        UserError: it cannot be read, or is of another kind.
    """
    try:
        with Image.open(path) as image:
            mode = image.mode
            pixels = np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise UserError(f"cannot read the mask {path}: {error}") from error
    if mode == "1":
        return pixels.astype(np.uint8)
    if mode in ("P", "L", "I") or mode.startswith("I;16"):
        return pixels
    if mode in ("RGB", "RGBA"):
        red, green, blue = np.moveaxis(pixels[:, :, :3].astype(np.int32), 2, 0)
        return red + 256 * green + 65536 * blue
    raise UserError(
        f"{path} is an image of mode {mode}; masks must have a palette, grey values or colours"
    )
