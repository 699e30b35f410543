"""Where frames come from: image files, video files, streams, cameras. For `VideoReader`.

Video files are read by PyAV, every frame with its time and as a player shows it; cameras and
streams by OpenCV.
"""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import cv2
import numpy as np

from .images import IMAGE_SUFFIXES, VideoIOError, list_images, read_image

__all__ = [
    "CaptureSource",
    "FrameSource",
    "ImageSource",
    "SourceFrame",
    "StreamLostError",
    "VideoFileSource",
    "open_source",
]

logger = logging.getLogger(__name__)

# How to turn a frame by its rotation, in degrees counterclockwise.
_TURNS = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_CLOCKWISE,
}
# Containers round lengths, and hide frames at the start that only others depend on.
_TOLERATED_LOSS = 0.02


class StreamLostError(VideoIOError):
    """A camera or stream that gives no more frames, though nobody stopped it."""


class SourceFrame(NamedTuple):
    """A frame that is decoded only if it is asked for.

    Attributes:
        decode: to be called at once or never. It returns (H, W, 3) uint8 BGR, and raises
            VideoIOError if the frame is damaged.
        time: when it is shown, in seconds on the clock of the source; None = by the frame rate.
    """

    decode: Callable[[], np.ndarray]
    time: float | None = None


class FrameSource(Protocol):
    """Frames in order.

    Attributes:
        label: what to call it in messages.
        name: what to call files made of it.
        fps: frames per second as the source tells, which may be nonsense.
        fallback_fps: what to assume then.
        num_frames: how many frames it declares, right or wrong; None if it does not.
        live: frames come at their own pace, whether somebody takes them or not.
        names: names of the frames, different from each other; None if they have none.
    """

    label: str
    name: str
    fps: float
    fallback_fps: float
    num_frames: int | None
    live: bool
    names: Sequence[str] | None

    def frames(self) -> Iterator[SourceFrame]:
        """The frames, damaged ones included."""

    def close(self) -> None:
        """Release what was opened."""


def open_source(source: str | os.PathLike | int | Sequence[Path]) -> FrameSource:
    """Open whatever gives frames.

    Args:
        source: path of a video file or of a folder of images, image files in order, an address
            with "://", or the index of a camera.

    Returns:
        The source, which is to be closed.

    Raises:
        VideoIOError: it is missing, or cannot be opened.
    """
    if isinstance(source, int):
        hint = "Is it plugged in, allowed for this user and not in use by another program?"
        return CaptureSource(source, hint)
    if not isinstance(source, str | os.PathLike):
        return ImageSource(source)
    path = Path(source)
    if path.is_dir():
        return ImageSource(list_images(path))
    if "://" in str(source):
        return CaptureSource(str(source), "Is the address right and reachable?")
    if not path.is_file():
        raise VideoIOError(f"there is no video file {path}.")
    if path.suffix.lower() in IMAGE_SUFFIXES:
        raise VideoIOError(f"{path} is an image, not a video.")
    if not os.access(path, os.R_OK):
        raise VideoIOError(f"no permission to read {path}.")
    return VideoFileSource(str(path))


class ImageSource:
    """Image files as the frames of a video."""

    live = False
    fps = fallback_fps = 10.0

    def __init__(self, paths: Sequence[Path]) -> None:
        """Keep the names of image files, in order; nothing is read."""
        self.label = str(paths[0].parent)
        self.name = _source_name(paths[0].resolve().parent.name)
        self.num_frames = len(paths)
        names = [path.stem for path in paths]
        self.names = names if len(set(names)) == len(names) else None
        self._paths = paths

    def frames(self) -> Iterator[SourceFrame]:
        """See `FrameSource`."""
        for path in self._paths:
            yield SourceFrame(partial(read_image, path))

    def close(self) -> None:
        """Nothing is open."""


class VideoFileSource:
    """The first video stream of a file, whatever FFmpeg can decode.

    Frames come with the times that the file has for them, turned as its metadata says. A part that
    cannot be decoded counts as a damaged frame, and what comes after it is read.
    """

    names = None
    fallback_fps = 25.0
    live = False

    def __init__(self, path: str) -> None:
        """Open an existing file; VideoIOError if it is damaged, or holds no video."""
        # It takes 20 MiB, which cameras and folders of images do not need.
        import av

        self._damage = av.error.FFmpegError
        self.label = path
        self.name = _source_name(Path(path).stem)
        try:
            self._container = av.open(path, metadata_errors="ignore")
        except av.error.FFmpegError as error:
            raise VideoIOError(
                f"cannot open {path}: {error.strerror}. It is no video, or damaged: a recording "
                "that broke off may lack the index at its end."
            ) from error
        self._stream = self._container.streams.best("video")
        if self._stream is None:
            is_empty = not self._container.streams
            self._container.close()
            hint = " A recording that broke off may lack the index at its end." if is_empty else ""
            raise VideoIOError(f"there is no video in {path}.{hint}")
        self.fps = float(self._stream.average_rate or self._stream.guessed_rate or 0)
        self.num_frames = self._stream.frames or self._length_by_duration()

    def frames(self) -> Iterator[SourceFrame]:
        """See `FrameSource`."""
        number, time = 0, 0.0
        for packet in self._packets():
            try:
                decoded = packet.decode()
            except self._damage:
                yield SourceFrame(partial(self._raise_damaged, number), _seconds(packet))
                number += 1
                continue
            for frame in decoded:
                time = max(time, frame.time or 0.0)
                yield SourceFrame(partial(self._pixels, frame), frame.time)
                number += 1
        self._compare_length(number, time)

    def close(self) -> None:
        """Release the file."""
        self._container.close()

    def _packets(self) -> Iterator[Any]:
        try:
            yield from self._container.demux(self._stream)
        except self._damage as error:
            logger.warning("%s cannot be read further: %s.", self.label, error.strerror)

    def _pixels(self, frame: Any) -> np.ndarray:
        pixels = frame.to_ndarray(format="bgr24")
        if _is_mirrored(frame):
            pixels = cv2.flip(pixels, 0)
        turn = _TURNS.get(round(frame.rotation) % 360)
        return pixels if turn is None else cv2.rotate(pixels, turn)

    def _raise_damaged(self, number: int) -> np.ndarray:
        raise VideoIOError(f"cannot decode frame {number} of {self.label}.")

    def _compare_length(self, number: int, time: float) -> None:
        """Tell the user of a video that is shorter than its file says."""
        declared = self._stream.frames
        if declared:
            if number < declared * (1 - _TOLERATED_LOSS):
                self._warn_of_length(f"{declared} frames", f"frame {number}")
        else:
            declared = (self._container.duration or 0) / 1e6
            # There may be sound behind the last frame.
            if time < declared * (1 - _TOLERATED_LOSS) - 1.0:
                self._warn_of_length(f"{declared:.1f} seconds", f"{time:.1f} seconds")

    def _warn_of_length(self, declared: str, end: str) -> None:
        logger.warning(
            "%s declares %s, but it ends after %s: it was cut off, or declares a wrong length.",
            self.label,
            declared,
            end,
        )

    def _length_by_duration(self) -> int | None:
        """The number of frames where the file only declares how long it is, in microseconds."""
        return round((self._container.duration or 0) / 1e6 * self.fps) or None


class CaptureSource:
    """A camera, a stream or a file behind an address, through OpenCV."""

    names = None
    fallback_fps = 25.0

    def __init__(self, source: str | int, hint: str) -> None:
        """Open it.

        Args:
            source: an address, or the index of a camera.
            hint: what to look at when it cannot be opened.

        Raises:
            VideoIOError: it cannot be opened.
        """
        is_camera = isinstance(source, int)
        self.label = f"camera {source}" if is_camera else source
        self.name = f"camera{source}" if is_camera else _source_name(Path(source).stem)
        with _quiet_opencv():
            self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            self._capture.release()
            raise VideoIOError(f"cannot open {self.label}. {hint}")
        self.fps = self._capture.get(cv2.CAP_PROP_FPS)
        count = 0 if is_camera else int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = count if count > 0 else None
        # Behind an address there may be a file as well; that has a length.
        self.live = is_camera or ("://" in source and self.num_frames is None)

    def frames(self) -> Iterator[SourceFrame]:
        """See `FrameSource`.

        Raises:
            StreamLostError: a camera or stream broke off.
        """
        taken = damaged = 0
        while True:
            if self._capture.grab():
                for number in range(taken, taken + damaged):
                    yield SourceFrame(partial(self._raise_damaged, number))
                taken, damaged = taken + damaged + 1, 0
                yield SourceFrame(self._retrieve)
                continue
            # In a file a damaged frame looks like the end, but others may follow.
            damaged += 1
            if taken + damaged >= (self.num_frames or 0):
                break
        if self.live and taken:
            raise StreamLostError(
                f"{self.label} gives no more frames after {taken}. Was it unplugged or switched "
                "off, or did its stream end?"
            )

    def close(self) -> None:
        """Release the file or the camera."""
        self._capture.release()

    def _retrieve(self) -> np.ndarray:
        ok, frame = self._capture.retrieve()
        if not ok:
            raise VideoIOError(f"cannot decode a frame of {self.label}.")
        return frame

    def _raise_damaged(self, number: int) -> np.ndarray:
        raise VideoIOError(f"cannot decode frame {number} of {self.label}.")


def _source_name(text: str) -> str:
    """What to call files made of a source whose name is this."""
    return re.sub(r"[^\w.-]+", "_", text) or "video"


def _is_mirrored(frame: Any) -> bool:
    """Whether a frame is shown upside down before it is turned by its rotation."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False
    # Where x goes to, and where y does.
    xx, xy, _, yx, yy = np.frombuffer(matrix, np.int32)[:5].tolist()
    return xx * yy < xy * yx


def _seconds(packet: Any) -> float | None:
    return None if packet.pts is None else float(packet.pts * packet.time_base)


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
