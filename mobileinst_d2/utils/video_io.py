"""Reading and writing of frames, one at a time, with errors where OpenCV only keeps quiet."""

import contextlib
import logging
import math
import os
import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from .image_io import IMAGE_SUFFIXES, VideoIOError, list_images, prepare_output, read_frame

__all__ = [
    "VIDEO_SUFFIXES",
    "VideoIOError",
    "VideoReader",
    "VideoWriter",
]

logger = logging.getLogger(__name__)

# The codec that every OpenCV build with FFmpeg can write into each container.
_DEFAULT_CODECS = {
    ".avi": "MJPG",
    ".m4v": "mp4v",
    ".mkv": "mp4v",
    ".mov": "mp4v",
    ".mp4": "mp4v",
    ".webm": "VP80",
}
VIDEO_SUFFIXES = tuple(_DEFAULT_CODECS)
_FALLBACK_FPS = 25.0
_FOLDER_FPS = 10.0


@contextlib.contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from logging what is turned into an error here."""
    # OpenCV 5 moved the two functions.
    logs = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    level = logs.getLogLevel()
    logs.setLogLevel(0)
    try:
        yield
    finally:
        logs.setLogLevel(level)


class _CaptureSource:
    """Frames of a file, stream or camera through OpenCV."""

    def __init__(self, source: str | int, label: str, hint: str) -> None:
        with _quiet_opencv():
            self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            self._capture.release()
            raise VideoIOError(f"cannot open {label}. {hint}")
        self.fps = self._capture.get(cv2.CAP_PROP_FPS)
        self.fallback_fps = _FALLBACK_FPS
        live = isinstance(source, int) or "://" in source
        count = 0 if live else int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = count if count > 0 else None

    def read(self) -> np.ndarray | None:
        ok, frame = self._capture.read()
        return frame if ok else None

    def close(self) -> None:
        self._capture.release()


class _FolderSource:
    """Frames of a folder of images, in natural order of their names."""

    def __init__(self, folder: Path) -> None:
        paths = list_images(folder)
        self._paths = iter(paths)
        self.fps = _FOLDER_FPS
        self.fallback_fps = _FOLDER_FPS
        self.num_frames = len(paths)

    def read(self) -> np.ndarray | None:
        path = next(self._paths, None)
        return None if path is None else read_frame(path)

    def close(self) -> None:
        self._paths = iter(())


class VideoReader:
    """The frames of a video file, a folder of frames, a stream or a camera, in one pass.

    Memory does not grow with the length: no frame is kept. The first one is decoded at once, so
    that what cannot be read is known before anything expensive is started.

    Attributes:
        name: what to call outputs made of it: the file's stem, the folder's name, "camera0".
        fps: frames per second, positive and finite.
        num_frames: how many frames the source declares, or None if it does not (cameras).
        width: of the first frame, in pixels.
        height: of the first frame, in pixels.
    """

    def __init__(self, source: str | os.PathLike | int, *, fps: float | None = None) -> None:
        """Open a source.

        Args:
            source: path of a video file or of a folder of images, an address with "://", or the
                index of a camera.
            fps: frame rate to report instead of the source's own.

        Raises:
            VideoIOError: the source cannot be opened or yields no frame.
        """
        label, self.name = _describe(source)
        self._source = _open(source, label)
        self.num_frames = self._source.num_frames
        self.fps = self._source.fps if fps is None else fps
        if not (math.isfinite(self.fps) and self.fps > 0):
            logger.warning(
                "%s reports %g frames per second; %g are assumed (--fps sets another rate).",
                label,
                self.fps,
                self._source.fallback_fps,
            )
            self.fps = self._source.fallback_fps
        try:
            self._next = self._source.read()
            if self._next is None:
                raise VideoIOError(f"no frame of {label} can be decoded.")
        except VideoIOError:
            self.close()
            raise
        self._label = label
        self.height, self.width = self._next.shape[:2]

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield (H, W, 3) uint8 BGR frames. A second iteration goes on where the first stopped."""
        count = 0
        while self._next is not None:
            frame, self._next = self._next, None
            count += 1
            yield frame
            self._next = self._source.read()
        if self.num_frames is not None and 0 < count != self.num_frames:
            logger.warning(
                "%s declares %d frames, but %d could be decoded.",
                self._label,
                self.num_frames,
                count,
            )

    def close(self) -> None:
        """Release the file or the camera."""
        self._source.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def _describe(source: str | os.PathLike | int) -> tuple[str, str]:
    """How to call a source in messages, and in the names of files made of it."""
    if isinstance(source, int):
        return f"camera {source}", f"camera{source}"
    path = Path(source)
    name = path.resolve().name if path.is_dir() else path.stem
    return str(source), re.sub(r"[^\w.-]+", "_", name) or "video"


def _open(source: str | os.PathLike | int, label: str) -> _CaptureSource | _FolderSource:
    if isinstance(source, int):
        hint = "Is it plugged in, allowed for this user and not in use by another program?"
        return _CaptureSource(source, label, hint)
    path = Path(source)
    if path.is_dir():
        return _FolderSource(path)
    if "://" in str(source):
        return _CaptureSource(str(source), label, "Is the address right and reachable?")
    if not path.is_file():
        raise VideoIOError(f"there is no video file {path}.")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise VideoIOError(f"{path} is an image, not a video.")
    if not os.access(path, os.R_OK):
        raise VideoIOError(f"no permission to read {path}.")
    return _CaptureSource(str(path), label, "It is damaged, or no video that OpenCV can decode.")


class VideoWriter:
    """A video file that is written completely or complained about.

    OpenCV drops frames of the wrong size and does not report a full disk; this class checks
    every frame, and at the end opens the file again and counts. Odd sizes, which video codecs
    cannot hold, get one more row or column by repeating the last. A file to which no frame was
    written is removed.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        *,
        fps: float,
        size: tuple[int, int],
        codec: str | None = None,
        overwrite: bool = False,
    ) -> None:
        """Open a video file for writing, with its folder if that is missing.

        Args:
            path: the file; its suffix (see `VIDEO_SUFFIXES`) chooses the container.
            fps: frames per second.
            size: width and height of all frames in pixels.
            codec: FourCC code; by default one that OpenCV always has ("mp4v" for .mp4).
            overwrite: replace an existing file.

        Raises:
            VideoIOError: the file cannot be written: unknown suffix or codec, no permission,
                or it exists already.
        """
        self.path = Path(path)
        self.num_frames = 0
        self._size = size
        suffix = self.path.suffix.lower()
        if suffix not in _DEFAULT_CODECS:
            raise VideoIOError(
                f"cannot write a video to {self.path}: the suffix must be one of "
                f"{', '.join(VIDEO_SUFFIXES)}."
            )
        codec = codec or _DEFAULT_CODECS[suffix]
        if len(codec) != 4 or not codec.isascii():
            raise VideoIOError(
                f'a codec is named by four characters such as "mp4v", not {codec!r}.'
            )
        prepare_output(self.path, overwrite=overwrite)
        padded = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        self._padded = padded
        with _quiet_opencv():
            self._writer = cv2.VideoWriter(
                str(self.path), cv2.VideoWriter_fourcc(*codec), float(fps), padded
            )
        if not self._writer.isOpened():
            self._writer.release()
            raise VideoIOError(
                f"OpenCV cannot encode {self.path} with the codec {codec!r} at {fps:g} frames per "
                f'second. "mp4v" with .mp4 works in every build that has FFmpeg.'
            )

    def write(self, frame: np.ndarray) -> None:
        """Append one frame.

        Args:
            frame: (H, W, 3) uint8, BGR, of the size given at the start.

        Raises:
            VideoIOError: the frame has another size or type.
        """
        width, height = self._size
        if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
            raise VideoIOError(
                f"frame {self.num_frames} of {self.path} is {frame.shape} {frame.dtype}, but the "
                f"video was started with ({height}, {width}, 3) uint8. All frames of a video must "
                "have one size."
            )
        if self._padded != self._size:
            bottom, right = self._padded[1] - height, self._padded[0] - width
            frame = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        self._writer.write(frame)
        self.num_frames += 1

    def close(self) -> None:
        """Finish the file and check it.

        Raises:
            VideoIOError: the file does not hold the frames that were written to it.
        """
        if not self._release():
            return
        found, size = _count_and_size(self.path)
        if found != self.num_frames or size != self._padded:
            raise VideoIOError(
                f"{self.path} is broken: {self.num_frames} frames of {self._padded} were written, "
                f"but {found} of {size} are in the file. Is the disk full?"
            )

    def _release(self) -> bool:
        """Close the file. Returns whether there is something in it to check."""
        if self._writer is None:
            return False
        self._writer.release()
        self._writer = None
        if self.num_frames == 0:
            self.path.unlink(missing_ok=True)
        return self.num_frames > 0

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        # After an exception the file is finished, so that it plays, but not what it promised.
        if exc_type is None:
            self.close()
        else:
            self._release()


def _count_and_size(path: Path) -> tuple[int, tuple[int, int]]:
    """Number of frames, and (width, height), that a video file says it has; zeros if broken."""
    capture = cv2.VideoCapture(str(path))
    keys = (cv2.CAP_PROP_FRAME_COUNT, cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT)
    count, width, height = (int(capture.get(key)) if capture.isOpened() else 0 for key in keys)
    capture.release()
    return count, (width, height)
