"""Which files a command reads and writes, worked out and checked before anything is computed."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from .image_io import IMAGE_SUFFIXES, VideoIOError, list_images, natural_key, prepare_output
from .video_io import VIDEO_SUFFIXES

__all__ = ["expand_inputs", "image_targets", "video_target"]


def expand_inputs(inputs: Sequence[str]) -> list[Path]:
    """Turn files, folders and globs into a list of image files.

    Args:
        inputs: what stands after ``--input``.

    Returns:
        At least one existing file, in the order given; folders and globs in natural order.

    Raises:
        VideoIOError: an entry does not exist, matches nothing, holds no image or is a video.
    """
    paths = []
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            paths += list_images(path)
        elif path.is_file():
            paths.append(path)
        elif matches := [Path(name) for name in glob.glob(str(path)) if os.path.isfile(name)]:
            paths += sorted(matches, key=natural_key)
        else:
            raise VideoIOError(f"--input {text}: no such image, folder or matching file.")
    videos = [path for path in paths if path.suffix.lower() in VIDEO_SUFFIXES]
    if videos:
        raise VideoIOError(f"{videos[0]} is a video; give it with --video-input.")
    return paths


def image_targets(paths: Sequence[Path], output: str, *, overwrite: bool) -> list[Path]:
    """Where to write the drawn images, checked before anything is computed.

    Args:
        paths: the inputs.
        output: an image name for one input, or a folder.
        overwrite: whether existing files may be replaced.

    Returns:
        One distinct path per input.

    Raises:
        VideoIOError: the output does not suit the inputs, would replace one of them or cannot be
            written.
    """
    if _is_folder(output):
        targets = [Path(output) / name for name in _distinct_names(paths)]
    elif Path(output).suffix.lower() not in IMAGE_SUFFIXES:
        raise VideoIOError(
            f"--output {output}: images are written to a folder or as {', '.join(IMAGE_SUFFIXES)}."
        )
    elif len(paths) > 1:
        raise VideoIOError(f"--output {output} is one file for {len(paths)} images; give a folder.")
    else:
        targets = [Path(output)]
    inputs = {path.resolve() for path in paths}
    for target in targets:
        if target.resolve() in inputs:
            raise VideoIOError(f"--output would replace the input {target}.")
        prepare_output(target, overwrite=overwrite)
    return targets


def video_target(source: str | int, name: str, output: str) -> Path:
    """Where to write the drawn video.

    Args:
        source: the input.
        name: what the reader calls it.
        output: a video file, or a folder for NAME.mp4.

    Returns:
        The file to write.

    Raises:
        VideoIOError: it is the input.
    """
    target = Path(output) / f"{name}.mp4" if _is_folder(output) else Path(output)
    if isinstance(source, str) and Path(source).resolve() == target.resolve():
        raise VideoIOError(f"--output would replace the input {target}.")
    return target


def _is_folder(output: str) -> bool:
    return output.endswith(("/", os.sep)) or os.path.isdir(output) or not Path(output).suffix


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """File names for outputs: those of the inputs, numbered where they repeat."""
    names: dict[str, None] = {}  # a set that keeps its order
    for path in paths:
        suffix = path.suffix if path.suffix.lower() in IMAGE_SUFFIXES else ".png"
        name, number = f"{path.stem}{suffix}", 2
        while name in names:
            name, number = f"{path.stem}_{number}{suffix}", number + 1
        names[name] = None
    return list(names)
