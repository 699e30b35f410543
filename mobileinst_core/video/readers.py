"""Reading of frames, one at a time, with errors where OpenCV only keeps quiet."""

import logging
import math
import os
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from .images import VideoIOError
from .pipeline import AheadIterator
from .sources import SourceFrame, open_source

__all__ = ["VideoFrame", "VideoReader"]

logger = logging.getLogger(__name__)

# A camera that gives nothing any more must not keep the program.
_PATIENCE = 2.0


class VideoFrame(NamedTuple):
    """A frame and its place in the video.

    Attributes:
        pixels: (H, W, 3) uint8, BGR.
        position: its number among the selected frames, from 1; those that were skipped count.
        time: seconds from the first selected frame to this one.
        name: what to call it: the stem of its image file, or its six-digit number.
    """

    pixels: np.ndarray
    position: int
    time: float
    name: str


class VideoReader:
    """The frames of a video file, of image files, of a stream or of a camera, in one pass.

    Memory does not grow with the length: no frame is kept. The first one is decoded at once, so
    that what cannot be read is known before anything expensive is started.

    Damaged frames are skipped with a warning, and so are frames of a live source that come
    while the caller is busy; `position` counts them, and the times of the others stay what they
    are. Frames of another size are fitted into the size of the first, letterboxed.

    Attributes:
        name: what to call outputs made of it: the file's stem, the folder's name, "camera0".
        fps: frames per second of the selected frames, positive and finite.
        num_frames: how many selected frames the source declares, which may be wrong, or None if it
            does not (cameras).
        width: of the first frame, in pixels.
        height: of the first frame, in pixels.
        live: the source is a camera or stream, which does not wait.
        position: selected frames so far: those given, damaged and dropped.
        num_damaged: how many of them could not be decoded.
    """

    def __init__(
        self,
        source: str | os.PathLike | int | Sequence[Path],
        *,
        fps: float | None = None,
        start: int = 0,
        end: int | None = None,
        stride: int = 1,
    ) -> None:
        """Open a source.

        Args:
            source: path of a video file or of a folder of images, image files in order, an address
                with "://", or the index of a camera.
            fps: frame rate to report instead of the source's own.
            start: number of the first frame to take, from 0.
            end: number of the frame before which to stop; None = at the end of the source.
            stride: take every so-many-th frame; the frame rate goes down with it.

        Raises:
            VideoIOError: the source cannot be opened or yields no frame.
        """
        self._source = open_source(source)
        self.name = self._source.name
        self._start, self._end, self._stride = start, end, stride
        self.live = self._source.live
        self.position = self.num_damaged = self._passed = 0
        self._latest: AheadIterator | None = None
        self._size: tuple[int, int] | None = None
        self._warned_of_size = False
        self._seen = 0
        self._set_fps = fps
        self._zero: float | None = None  # of the source's clock
        declared = self._source.num_frames
        self.num_frames = None
        if declared is not None or end is not None:
            stop = min(x for x in (declared, end) if x is not None)
            self.num_frames = len(range(start, stop, stride))
        self.fps = self._rate() if fps is None else fps
        self._items = self._read()
        try:
            self._next = next(self._items, None)
            if self._next is None:
                raise VideoIOError(self._no_frame())
        except BaseException:
            self.close()
            raise
        height, width = self._next.pixels.shape[:2]
        self.width, self.height = width, height

    @property
    def num_dropped(self) -> int:
        """Frames of a live source that came while the caller was busy."""
        return self._latest.dropped if self._latest else 0

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield (H, W, 3) uint8 BGR frames, see :meth:`frames`."""
        for frame in self.frames():
            yield frame.pixels

    def frames(self) -> Iterator[VideoFrame]:
        """Yield frames with their places. A second iteration continues where the first stopped.

        Raises:
            StreamLostError: after the last frame of a camera or stream, unless ``end`` was reached.
        """
        if self._next is None:
            return
        if self.live and self._latest is None:
            # Not before: whoever opens a camera may take some time until the first frame.
            self._items = self._latest = AheadIterator(
                self._items, capacity=1, drop=True, patience=_PATIENCE, name="camera"
            )
        while self._next is not None:
            frame, self._next = self._next, None
            self.position = frame.position
            yield frame
            self._next = next(self._items, None)
        self.position = self._passed

    def close(self) -> None:
        """Release the file or the camera."""
        if self._latest is None or self._latest.close():
            self._source.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _read(self) -> Iterator[VideoFrame]:
        """Selected frames that can be decoded."""
        frames = islice(self._source.frames(), self._end)
        for self._seen, frame in enumerate(frames, 1):
            index, rest = divmod(self._seen - 1 - self._start, self._stride)
            if index < 0 or rest:
                continue
            self._passed = index + 1
            time = self._time(frame)
            try:
                pixels = frame.decode()
            except VideoIOError as error:
                logger.warning("%s This frame is skipped.", error)
                self.num_damaged += 1
                continue
            names = self._source.names
            name = names[self._seen - 1] if names else f"{self._seen - 1:06d}"
            yield VideoFrame(self._fit(pixels), self._passed, time, name)

    def _time(self, frame: SourceFrame) -> float:
        """Seconds from the first selected frame to the current one."""
        by_rate = (self._passed - 1) / self.fps
        if frame.time is None or self._set_fps is not None:
            return by_rate
        if self._zero is None:
            self._zero = frame.time - by_rate
        return frame.time - self._zero

    def _no_frame(self) -> str:
        if self.num_damaged == 0 and self._start:
            return (
                f"there is no frame {self._start} to start at: {self._source.label} has "
                f"{self._seen} frames."
            )
        return f"no frame of {self._source.label} can be decoded."

    def _fit(self, frame: np.ndarray) -> np.ndarray:
        """The frame in the size of the first."""
        height, width = frame.shape[:2]
        if self._size is None:
            self._size = (width, height)
        if (width, height) == self._size:
            return frame
        if not self._warned_of_size:
            self._warned_of_size = True
            logger.warning(
                "%s changes its size from %dx%d to %dx%d; such frames are fitted into the first "
                "size, letterboxed.",
                self._source.label,
                *self._size,
                width,
                height,
            )
        return _letterbox(frame, self._size)

    def _rate(self) -> float:
        """Frames per second of the selected frames, or what to assume instead."""
        fps = self._source.fps
        if not (math.isfinite(fps) and fps > 0):
            logger.warning(
                "%s reports %g frames per second; %g are assumed (--fps sets another rate).",
                self._source.label,
                fps,
                self._source.fallback_fps,
            )
            fps = self._source.fallback_fps
        return fps / self._stride


def _letterbox(frame: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Scale a frame into the middle of a black one of a size (width, height)."""
    width, height = size
    scale = min(width / frame.shape[1], height / frame.shape[0])
    inner = (max(1, round(frame.shape[1] * scale)), max(1, round(frame.shape[0] * scale)))
    canvas = np.zeros((height, width, 3), np.uint8)
    left, top = (width - inner[0]) // 2, (height - inner[1]) // 2
    canvas[top : top + inner[1], left : left + inner[0]] = cv2.resize(
        frame, inner, interpolation=cv2.INTER_AREA
    )
    return canvas
