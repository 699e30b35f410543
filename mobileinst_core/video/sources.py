"""Where frames come from: image files, video files, streams, cameras. For `VideoReader`."""

import os
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

from .cameras import CaptureSource
from .frame_source import FrameSource, SourceFrame, source_name
from .images import IMAGE_SUFFIXES, VideoIOError, list_images, read_image
from .video_files import VideoFileSource

__all__ = ["ImageSource", "open_source"]


class ImageSource:
    """Image files as the frames of a video."""

    live = False
    fps = fallback_fps = 10.0

    def __init__(self, paths: Sequence[Path]) -> None:
        """Keep the names of image files, in order; nothing is read."""
        self.label = str(paths[0].parent)
        self.name = source_name(paths[0].resolve().parent.name)
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
