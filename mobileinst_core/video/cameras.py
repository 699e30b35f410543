"""Cameras and streams, through OpenCV."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from .frame_source import SourceFrame, source_name
from .images import VideoIOError

__all__ = ["CaptureSource", "StreamLostError"]


class StreamLostError(VideoIOError):
    """A camera or stream that gives no more frames, though nobody stopped it."""


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
        self.name = f"camera{source}" if is_camera else source_name(Path(source).stem)
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
