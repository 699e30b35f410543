"""Which files a command reads and writes, worked out and checked before anything is computed."""

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from .images import IMAGE_SUFFIXES, VideoIOError, list_images, natural_key, prepare_output
from .writers import VIDEO_SUFFIXES

__all__ = ["check_targets", "expand_inputs", "image_targets", "video_source", "video_target"]

# What is read as a video; others may be, too.
_INPUT_SUFFIXES = (*VIDEO_SUFFIXES, ".avi", ".mpeg", ".mpg", ".ts", ".wmv")


def expand_inputs(inputs: Sequence[str], option: str = "--input") -> list[Path]:
    """Turn files, folders and globs into a list of image files.

    Args:
        inputs: what stands after the option.
        option: named in errors.

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
            raise VideoIOError(f"{option} {text}: no such image, folder or matching file.")
    videos = [path for path in paths if path.suffix.lower() in _INPUT_SUFFIXES]
    if videos:
        raise VideoIOError(f"{videos[0]} is a video; give it with --video-input, and alone.")
    return paths


def video_source(inputs: Sequence[str]) -> str | list[Path]:
    """What stands after ``--video-input``: one video, or the image files that are its frames.

    Args:
        inputs: a video file, a folder of images or an address; or image files and globs.

    Returns:
        The one video, folder or address as it is; or at least one image file, in natural order.

    Raises:
        VideoIOError: there are several videos, or files that do not exist.
    """
    if len(inputs) == 1:
        text = inputs[0]
        path = Path(text).expanduser()
        found = [path] if path.exists() else [Path(name) for name in glob.glob(str(path))]
        if "://" in text or not found:
            return text
        if len(found) == 1 and found[0].suffix.lower() not in IMAGE_SUFFIXES:
            return str(found[0])
    return sorted(
        expand_inputs(inputs, "--video-input"),
        key=lambda path: [natural_key(part) for part in path.parts],
    )


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


def video_target(name: str, output: str) -> Path:
    """Where to write the drawn video.

    Args:
        name: what the reader calls the input.
        output: a video file, or a folder for NAME.mp4.

    Returns:
        The file to write.
    """
    return Path(output) / f"{name}.mp4" if _is_folder(output) else Path(output)


def check_targets(source: str | int | Sequence[Path], targets: Mapping[str, Path | None]) -> None:
    """Make sure that outputs of a video replace neither the input nor each other.

    Args:
        source: see `VideoReader`.
        targets: file or folder to write by the option that names it.

    Raises:
        VideoIOError: one of them does.
    """
    inputs = [Path(source)] if isinstance(source, str) else []
    if isinstance(source, Sequence) and not isinstance(source, str):
        inputs = [*source, *(path.parent for path in source)]
    taken = {path.resolve(): f"the input {path}" for path in inputs}
    for option, target in targets.items():
        if target is None:
            continue
        if target.resolve() in taken:
            raise VideoIOError(f"{option} would replace {taken[target.resolve()]}.")
        taken[target.resolve()] = f"the output {target}"


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
