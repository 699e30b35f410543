"""Writing of videos that are played everywhere."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np

from .images import DiskFullError, VideoIOError, prepare_output, write_error

__all__ = ["CODECS", "VIDEO_SUFFIXES", "VideoWriter"]


class _Encoder(NamedTuple):
    """An encoder of FFmpeg and its options; without a "crf" it is given a bit rate."""

    name: str
    options: Mapping[str, str]


# Encoders per codec, of which the first that FFmpeg was built with is taken. Their options are for
# speed: a video is av_frame beside the network.
CODECS = {
    "h264": (
        # Frames that wait for later ones would confuse the lengths of an mp4 file with gaps.
        _Encoder("libx264", {"preset": "superfast", "crf": "20", "bf": "0"}),
        _Encoder("libopenh264", {}),
        _Encoder("h264_videotoolbox", {}),
        _Encoder("h264_mf", {}),
    ),
    "vp9": (
        _Encoder("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8", "crf": "30", "b": "0"}),
    ),
    "av1": (
        _Encoder("libsvtav1", {"preset": "10", "crf": "30"}),
        _Encoder("libaom-av1", {"usage": "realtime", "cpu-used": "8", "crf": "30", "b": "0"}),
    ),
}
_CODEC_NAMES = {"h264": "H.264", "vp9": "VP9", "av1": "AV1"}
# Codecs per container, the one that most players have first.
_CONTAINERS = {
    ".m4v": ("h264",),
    ".mkv": ("h264", "vp9", "av1"),
    ".mov": ("h264",),
    ".mp4": ("h264", "av1", "vp9"),
    ".webm": ("vp9", "av1"),
}
VIDEO_SUFFIXES = tuple(_CONTAINERS)
_TICKS = 90_000  # per second; the usual frame rates are whole numbers of them
_BITS_PER_PIXEL = 0.15
# What OpenCV converts with, in the numbers of FFmpeg: matrix of BT.601, and levels 16 to 235.
_BT601, _LIMITED_RANGE = 6, 1
# Containers write their index at the end, so a disk must not fill up before.
_RESERVED_BYTES = 16 * 2**20


class VideoWriter:
    """A video file that plays in browsers and on phones, written completely or complained about.

    Frames are shown at the times that they are given. Pixels are yuv420p, and the index of an mp4
    file is at its beginning. The space on the disk is watched, and at the end the file is
    opened again and its frames counted. Odd sizes, which yuv420p cannot hold, get one more row or
    column by repeating the last. A file to which no frame was written is removed.

    Attributes:
        path: the file.
        num_frames: written so far.
        codec: name of the codec, to tell the user.
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
            fps: frames per second, where frames come without times.
            size: width and height of all frames in pixels.
            codec: of `CODECS`; by default the first that the container can hold and that is
                installed, H.264 but for .webm.
            overwrite: replace an existing file.

        Raises:
            VideoIOError: the file cannot be written: unknown suffix or codec, no permission,
                or it exists already.
        """
        self.path = Path(path)
        self.num_frames = 0
        self._size = size
        self._padded = (size[0] + size[0] % 2, size[1] + size[1] % 2)
        self._step = max(1, round(_TICKS / fps))
        self._tick = -1
        codec, encoder = _choose_encoder(self.path, codec)
        self.codec = _CODEC_NAMES[codec]
        prepare_output(self.path, overwrite=overwrite)
        with self._errors("open"):
            self._open(encoder, fps)

    def write(self, frame: np.ndarray, time: float | None = None) -> None:
        """Append one frame.

        Args:
            frame: (H, W, 3) uint8, BGR, of the size given at the start.
            time: when it is shown, in seconds; None = one frame after the last one. The first
                frame is shown from the start, whatever its time.

        Raises:
            DiskFullError: the disk is nearly full.
            VideoIOError: the frame has another size or type, or cannot be written.
        """
        width, height = self._size
        if frame.shape != (height, width, 3) or frame.dtype != np.uint8:
            raise VideoIOError(
                f"frame {self.num_frames} of {self.path} is {frame.shape} {frame.dtype}, but the "
                f"video was started with ({height}, {width}, 3) uint8. All frames of a video must "
                "have one size."
            )
        if shutil.disk_usage(self.path.parent).free < _RESERVED_BYTES:
            raise DiskFullError(
                f"the disk is full: {self.path} ends after {self.num_frames} frames."
            )
        if self._padded != self._size:
            bottom, right = self._padded[1] - height, self._padded[0] - width
            frame = cv2.copyMakeBorder(frame, 0, bottom, 0, right, cv2.BORDER_REPLICATE)
        self._planes = cv2.cvtColor(frame, cv2.COLOR_BGR2YUV_I420)
        self._append(time)

    def hold(self, time: float) -> None:
        """Keep showing the last frame.

        Args:
            time: when the video ends, in seconds; nothing happens if it is as long.

        Raises:
            VideoIOError: nothing can be written.
        """
        end = round(time * _TICKS) - self._step
        if self.num_frames and end > self._tick:
            self._append(end / _TICKS)

    def _append(self, time: float | None) -> None:
        """Encode the current planes."""
        av_frame = self._av.VideoFrame.from_ndarray(self._planes, format="yuv420p")
        av_frame.colorspace, av_frame.color_range = _BT601, _LIMITED_RANGE
        av_frame.time_base = Fraction(1, _TICKS)
        av_frame.pts = self._tick = self._next_tick(time)
        av_frame.duration = self._step
        self._encode(av_frame)
        self.num_frames += 1

    def close(self) -> None:
        """Finish the file and check it.

        Raises:
            VideoIOError: the file does not hold the frames that were written to it.
        """
        if not self._release():
            return
        found, size = self._count_and_size()
        if found != self.num_frames or size != self._padded:
            raise VideoIOError(
                f"{self.path} is broken: {self.num_frames} frames of {self._padded} were written, "
                f"but {found} of {size} are in the file. Is the disk full?"
            )

    def _open(self, encoder: _Encoder, fps: float) -> None:
        # SVT-AV1 would print what it is on standard error.
        os.environ.setdefault("SVT_LOG", "1")
        import av  # not before: it takes 20 MiB

        self._av = av
        # No index at the end, where browsers would have to look for it first.
        options = {"movflags": "+faststart"}
        is_iso = self.path.suffix.lower() in (".m4v", ".mov", ".mp4")
        self._container = av.open(str(self.path), "w", options=options if is_iso else {})
        rate = Fraction(fps).limit_denominator(1001 * 30)
        self._stream = self._container.add_stream(
            encoder.name, rate=rate, options=dict(encoder.options)
        )
        context = self._stream.codec_context
        context.width, context.height = self._padded
        context.pix_fmt = "yuv420p"
        context.time_base = Fraction(1, _TICKS)
        context.colorspace = context.color_primaries = context.color_trc = _BT601
        context.color_range = _LIMITED_RANGE
        if "crf" not in encoder.options:
            self._stream.bit_rate = int(_BITS_PER_PIXEL * fps * self._padded[0] * self._padded[1])
        context.open()

    def _next_tick(self, time: float | None) -> int:
        if self.num_frames == 0:
            return 0
        wanted = self._tick + self._step if time is None else round(time * _TICKS)
        return max(wanted, self._tick + 1)

    def _encode(self, av_frame: Any) -> None:
        """Encode a frame, or what is left for None."""
        with self._errors("write"):
            for packet in self._stream.encode(av_frame):
                self._container.mux(packet)

    def _release(self) -> bool:
        """Close the file. Returns whether there is something in it to check."""
        if self._container is None:
            return False
        try:
            if self.num_frames:
                self._encode(None)
        finally:
            container, self._container = self._container, None
            with self._errors("finish"):
                container.close()
        if self.num_frames == 0:
            self.path.unlink(missing_ok=True)
        return self.num_frames > 0

    def _count_and_size(self) -> tuple[int, tuple[int, int]]:
        """Number of frames in the file, and (width, height); zeros if it is broken."""
        try:
            with self._av.open(str(self.path)) as container:
                stream = container.streams.video[0]
                count = sum(packet.size > 0 for packet in container.demux(stream))
                return count, (stream.width, stream.height)
        except (self._av.error.FFmpegError, OSError, IndexError):
            return 0, (0, 0)

    @contextmanager
    def _errors(self, what: str) -> Iterator[None]:
        try:
            yield
        except (self._av.error.FFmpegError, OSError) as error:
            raise write_error(self.path, error, what) from error

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, exc_type: type[BaseException] | None, *exc_info: object) -> None:
        # After an exception the file is finished, so that it plays, but not what it promised.
        if exc_type is None:
            self.close()
        else:
            self._release()


def _choose_encoder(path: Path, codec: str | None) -> tuple[str, _Encoder]:
    """The codec and the encoder for a file, of those that are installed."""
    import av

    possible = _CONTAINERS.get(path.suffix.lower())
    if possible is None:
        raise VideoIOError(
            f"cannot write a video to {path}: the suffix must be one of "
            f"{', '.join(VIDEO_SUFFIXES)}."
        )
    if codec is not None and codec not in possible:
        raise VideoIOError(
            f"{path} cannot hold the codec {codec!r}: with {path.suffix} it is one of "
            f"{', '.join(possible)}."
        )
    for name in [codec] if codec else possible:
        for encoder in CODECS[name]:
            if encoder.name in av.codecs_available:
                return name, encoder
    raise VideoIOError(
        f"PyAV has no encoder here for {', '.join([codec] if codec else possible)}, so {path} "
        "cannot be written. Its wheels have them: pip install --force-reinstall av."
    )
