"""Video files, through PyAV: every frame with its time, and as a player shows it."""

import logging
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .frame_source import SourceFrame, source_name
from .images import VideoIOError

__all__ = ["VideoFileSource"]

logger = logging.getLogger(__name__)

# How to turn a frame by its rotation, in degrees counterclockwise.
_TURNS = {
    90: cv2.ROTATE_90_COUNTERCLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_CLOCKWISE,
}
# Containers round lengths, and hide frames at the start that only others depend on.
_TOLERATED_LOSS = 0.02


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
        self.name = source_name(Path(path).stem)
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
