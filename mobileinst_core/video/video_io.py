"""Reading and writing of frames, one at a time, with errors where OpenCV only keeps quiet."""

import logging
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from .images import VideoIOError, prepare_output
from .sources import LatestIterator, StreamLostError, open_source, quiet_opencv

__all__ = [
    "VIDEO_SUFFIXES",
    "StreamLostError",
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
# Containers write their index at the end, so a disk must not fill up before.
_RESERVED_BYTES = 16 * 2**20
_FRAMES_BETWEEN_DISK_CHECKS = 32


class VideoReader:
    """The frames of a video file, of image files, of a stream or of a camera, in one pass.

    Memory does not grow with the length: no frame is kept. The first one is decoded at once, so
    that what cannot be read is known before anything expensive is started.

    Damaged frames are passed over with a warning, and so are frames of a live source that come
    while the caller is busy; `position` counts them, so the timing is not lost. Frames of another
    size are fitted into the size of the first, with bars.

    Attributes:
        name: what to call outputs made of it: the file's stem, the folder's name, "camera0".
        fps: frames per second of the selected frames, positive and finite.
        num_frames: how many selected frames the source declares, or None if it does not (cameras).
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
        self._latest: LatestIterator | None = None
        self._size: tuple[int, int] | None = None
        self._warned_of_size = False
        declared = self._source.num_frames
        self.num_frames = None
        if declared is not None or end is not None:
            stop = min(x for x in (declared, end) if x is not None)
            self.num_frames = len(range(start, stop, stride))
        self.fps = self._rate() if fps is None else fps
        self._items = self._read()
        try:
            if declared is not None and start >= declared:
                raise VideoIOError(
                    f"there is no frame {start} to start at: {self._source.label} has {declared} "
                    "frames."
                )
            self._next = next(self._items, None)
            if self._next is None:
                raise VideoIOError(f"no frame of {self._source.label} can be decoded.")
        except VideoIOError:
            self.close()
            raise
        self.width, self.height = self._size

    @property
    def num_dropped(self) -> int:
        """Frames of a live source that came while the caller was busy."""
        return self._latest.dropped if self._latest else 0

    @property
    def frame_name(self) -> str:
        """What to call the last frame: the stem of its image file, or its six-digit number."""
        number = self._start + (self.position - 1) * self._stride
        return self._source.names[number] if self._source.names else f"{number:06d}"

    def __iter__(self) -> Iterator[np.ndarray]:
        """Yield (H, W, 3) uint8 BGR frames. A second iteration goes on where the first stopped.

        Raises:
            StreamLostError: after the last frame of a camera or stream, unless ``end`` was reached.
        """
        if self._next is None:
            return
        if self.live and self._latest is None:
            # Not before: whoever opens a camera may take some time until the first frame.
            self._items = self._latest = LatestIterator(self._items)
        while self._next is not None:
            (self.position, frame), self._next = self._next, None
            yield frame
            self._next = next(self._items, None)
        self.position = self._passed
        if self._source.num_frames is not None and self._passed != self.num_frames:
            logger.warning(
                "%s declares %d frames, but %d could be decoded.",
                self._source.label,
                self.num_frames,
                self._passed,
            )

    def close(self) -> None:
        """Release the file or the camera."""
        if self._latest is None or self._latest.close():
            self._source.close()

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _read(self) -> Iterator[tuple[int, np.ndarray]]:
        """Selected frames that can be decoded, with their positions from 1."""
        decoders = islice(self._source.decoders(), self._start, self._end, self._stride)
        for self._passed, decode in enumerate(decoders, 1):
            try:
                frame = decode()
            except VideoIOError as error:
                logger.warning("%s This frame is passed over.", error)
                self.num_damaged += 1
                continue
            yield self._passed, self._fit(frame)

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
                "size, with bars.",
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


class VideoWriter:
    """A video file that is written completely or complained about.

    OpenCV drops frames of the wrong size and does not report a full disk; this class checks
    every frame and the space on the disk, and at the end opens the file again and counts. Odd
    sizes, which video codecs cannot hold, get one more row or column by repeating the last. A
    file to which no frame was written is removed.
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
        self._last = np.zeros((padded[1], padded[0], 3), np.uint8)
        with quiet_opencv():
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
            VideoIOError: the frame has another size or type, or the disk is nearly full.
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
        self._append(frame)

    def fill(self, num_frames: int) -> None:
        """Repeat the last frame, or black before the first, up to a length of the video.

        Args:
            num_frames: the length; nothing happens if the video is as long.

        Raises:
            VideoIOError: the disk is nearly full.
        """
        while self.num_frames < num_frames:
            self._append(self._last)

    def _append(self, frame: np.ndarray) -> None:
        if self.num_frames % _FRAMES_BETWEEN_DISK_CHECKS == 0:
            free = shutil.disk_usage(self.path.parent).free
            if free < _RESERVED_BYTES:
                raise VideoIOError(
                    f"the disk is full: {self.path} ends after {self.num_frames} frames."
                )
        self._writer.write(frame)
        self._last = frame
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
