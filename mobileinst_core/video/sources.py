"""Where frames come from: image files, video files and streams, cameras. For `VideoReader`."""

import contextlib
import os
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import cv2
import numpy as np

from .images import IMAGE_SUFFIXES, VideoIOError, list_images, read_image

__all__ = [
    "CaptureSource",
    "FrameSource",
    "ImageSource",
    "LatestIterator",
    "StreamLostError",
    "open_source",
    "quiet_opencv",
]

Item = TypeVar("Item")
Decoder = Callable[[], np.ndarray]

_VIDEO_FPS = 25.0
_IMAGES_FPS = 10.0
_JOIN_SECONDS = 2.0
_THREAD = "latest frame"


class StreamLostError(VideoIOError):
    """A camera or stream that gives no more frames, though nobody stopped it."""


class FrameSource(Protocol):
    """Frames in order, each decoded only if it is asked for.

    Attributes:
        label: what to call it in messages.
        name: what to call files made of it.
        fps: frames per second as the source tells, which may be nonsense.
        fallback_fps: what to assume then.
        num_frames: how many frames it declares; None if it does not.
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

    def decoders(self) -> Iterator[Decoder]:
        """One function per frame, to call at once or never.

        It returns (H, W, 3) uint8 BGR, and raises VideoIOError if the frame is damaged.
        """

    def close(self) -> None:
        """Release what was opened."""


class ImageSource:
    """Image files as the frames of a video."""

    live = False
    fps = fallback_fps = _IMAGES_FPS

    def __init__(self, paths: Sequence[Path]) -> None:
        """Keep the names; nothing is read.

        Args:
            paths: image files in order.
        """
        self.label = str(paths[0].parent)
        self.name = _file_name(paths[0].resolve().parent.name)
        self.num_frames = len(paths)
        names = [path.stem for path in paths]
        self.names = names if len(set(names)) == len(names) else None
        self._paths = paths

    def decoders(self) -> Iterator[Decoder]:
        """See `FrameSource`."""
        for path in self._paths:
            yield partial(read_image, path)

    def close(self) -> None:
        """Nothing is open."""


class CaptureSource:
    """A video file, a stream or a camera, through OpenCV."""

    names = None
    fallback_fps = _VIDEO_FPS

    def __init__(self, source: str | int, hint: str) -> None:
        """Open it.

        Args:
            source: path or address, or the index of a camera.
            hint: what to look at when it cannot be opened.

        Raises:
            VideoIOError: it cannot be opened.
        """
        is_camera = isinstance(source, int)
        self.label = f"camera {source}" if is_camera else source
        self.name = f"camera{source}" if is_camera else _file_name(Path(source).stem)
        with quiet_opencv():
            self._capture = cv2.VideoCapture(source)
        if not self._capture.isOpened():
            self._capture.release()
            raise VideoIOError(f"cannot open {self.label}. {hint}")
        self.fps = self._capture.get(cv2.CAP_PROP_FPS)
        count = 0 if is_camera else int(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.num_frames = count if count > 0 else None
        # Behind an address there may be a file as well; that has a length.
        self.live = is_camera or ("://" in source and self.num_frames is None)

    def decoders(self) -> Iterator[Decoder]:
        """See `FrameSource`.

        Raises:
            StreamLostError: a camera or stream broke off.
        """
        taken = damaged = 0
        while True:
            if self._capture.grab():
                for number in range(taken, taken + damaged):
                    yield partial(self._raise_damaged, number)
                taken, damaged = taken + damaged + 1, 0
                yield self._retrieve
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


class LatestIterator(Iterator[Item]):
    """Runs an iterator in a thread and hands out its newest item, dropping those nobody took.

    So a slow consumer of live items skips some instead of lagging ever further behind.
    """

    def __init__(self, items: Iterator[Item]) -> None:
        """Start to iterate.

        Args:
            items: what to iterate; from now on only by this object.
        """
        self.dropped = 0
        self._changed = threading.Condition()
        self._slot: list[Item] = []  # at most one
        self._stopped = self._ended = False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, args=(items,), name=_THREAD, daemon=True)
        self._thread.start()

    def __next__(self) -> Item:
        """The newest item not handed out yet; waits for one.

        Raises:
            StopIteration: the items ended, or `close` was called.
            Exception: what the iterator raised, after its last item.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._slot or self._ended)
            if self._slot:
                return self._slot.pop()
            if self._error is not None:
                raise self._error
            raise StopIteration

    def close(self) -> bool:
        """End the thread.

        Returns:
            False if it does not end, since the iterator does not return; it dies with the process.
        """
        self._stopped = True
        self._thread.join(_JOIN_SECONDS)
        return not self._thread.is_alive()

    def _run(self, items: Iterator[Item]) -> None:
        try:
            for item in items:
                if self._stopped:
                    break
                with self._changed:
                    self.dropped += len(self._slot)
                    self._slot[:] = [item]
                    self._changed.notify()
        except Exception as error:  # raised where the items are taken
            self._error = error
        with self._changed:
            self._ended = True
            self._changed.notify()


@contextlib.contextmanager
def quiet_opencv() -> Iterator[None]:
    """Keep OpenCV from logging what is turned into an error here."""
    # OpenCV 5 moved the two functions.
    logs = cv2.utils.logging if hasattr(cv2.utils, "logging") else cv2
    level = logs.getLogLevel()
    logs.setLogLevel(0)
    try:
        yield
    finally:
        logs.setLogLevel(level)


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
    return CaptureSource(str(path), "It is damaged, or no video that OpenCV can decode.")


def _file_name(text: str) -> str:
    return re.sub(r"[^\w.-]+", "_", text) or "video"
