"""Writing of videos and identity maps, with errors where OpenCV only keeps quiet."""

import os
import shutil
from pathlib import Path

import cv2
import numpy as np

from mobileinst_core.detections import Detections

from .images import VideoIOError, prepare_output, write_image
from .sources import quiet_opencv

__all__ = ["VIDEO_SUFFIXES", "IdMapWriter", "VideoWriter", "id_map"]

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
# What the pixels of an identity map hold at most.
_MAX_ID = np.iinfo(np.uint16).max


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


def id_map(detections: Detections) -> np.ndarray:
    """Draw the identities of a frame into one image.

    Args:
        detections: tracked instances, with ``ids``.

    Returns:
        (H, W) uint16: the identity of each pixel, 0 where there is none. Where masks overlap, the
        one with the highest score is on top.

    Raises:
        VideoIOError: an identity is above 65535, which 16 bits cannot hold.
    """
    largest = max(detections.ids, default=0)
    if largest > _MAX_ID:
        raise VideoIOError(f"identity {largest} does not fit into a 16-bit image.")
    identities = np.zeros(detections.image_size, np.uint16)
    for index in np.argsort(detections.scores, kind="stable"):
        identities[detections.masks[index]] = detections.ids[index]
    return identities


class IdMapWriter:
    """A folder of 16-bit PNG files, see `id_map`, as evaluation tools and editors read them."""

    def __init__(self, folder: Path, *, overwrite: bool = False) -> None:
        """Make the folder if it is missing.

        Args:
            folder: where to write.
            overwrite: replace files of the same names; otherwise the folder must be empty.

        Raises:
            VideoIOError: it holds files, or cannot be made.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            used = any(folder.iterdir())
        except OSError as error:
            raise VideoIOError(f"cannot write into {folder}: {error.strerror}.") from error
        if used and not overwrite:
            raise VideoIOError(
                f"the folder {folder} is not empty; --overwrite replaces files of the same names."
            )
        self.folder = folder

    def write(self, name: str, detections: Detections) -> None:
        """Write the map of one frame.

        Args:
            name: of the frame; the file is called NAME.png.
            detections: see `id_map`.

        Raises:
            VideoIOError: the file cannot be written, or an identity is too large.
        """
        write_image(self.folder / f"{name}.png", id_map(detections), overwrite=True)
