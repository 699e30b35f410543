"""Videos as folders of frames with one annotation file per frame, and lists of classes."""

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mobileinst_core.errors import UserError
from mobileinst_core.video.images import (
    IMAGE_SUFFIXES,
    list_images,
    natural_key,
    read_image_size,
)

__all__ = ["ClassFile", "check_size", "list_frames", "read_class_file"]

_logger = logging.getLogger(__name__)


def list_frames(
    image_root: str | os.PathLike,
    annotation_root: str | os.PathLike,
    suffix: str,
    *,
    keep_unannotated: bool = False,
) -> dict[str, list[tuple[str, Path | None]]]:
    """Find the annotation file of every frame.

    Every folder below ``annotation_root`` that holds annotation files is a video. Its frames are
    the images of the folder of the same name below ``image_root``; an annotation belongs to the
    image that differs in the suffix only.

    Args:
        image_root: folder of the images.
        annotation_root: folder of the annotations; may be the same.
        suffix: of annotation files, such as ".png".
        keep_unannotated: take images without an annotation file for frames without any object;
            otherwise they are no part of the video.

    Returns:
        By folder, relative to the roots: the image, relative to ``image_root``, and its annotation
        file or None, for each frame in natural order.

    Raises:
        UserError: a root is missing, or annotations and images do not belong together.
    """
    image_root, annotation_root = Path(image_root), Path(annotation_root)
    for root in (image_root, annotation_root):
        if not root.is_dir():
            raise UserError(f"there is no folder {root}")
    files: dict[Path, dict[str, Path]] = {}
    for path in annotation_root.rglob(f"*{suffix}"):
        if not path.name.startswith("."):
            files.setdefault(path.parent, {})[path.stem] = path
    if not files:
        raise UserError(f"there is no *{suffix} in {annotation_root} or a folder in it")
    videos = {}
    for folder in sorted(files, key=lambda path: [natural_key(part) for part in path.parts]):
        name = folder.relative_to(annotation_root)
        frames = _pair(image_root / name, files[folder])
        videos[name.as_posix()] = [
            (image.relative_to(image_root).as_posix(), annotation)
            for image, annotation in frames
            if annotation is not None or keep_unannotated
        ]
        bare = sum(annotation is None for _, annotation in frames)
        if bare:
            _logger.warning(
                "%s: %d of %d frames have no annotation file and %s",
                image_root / name,
                bare,
                len(frames),
                "count as frames without any object" if keep_unannotated else "are left out",
            )
    with_images = {p.parent for p in image_root.rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES}
    unused = len(with_images - {image_root / name for name in videos})
    if unused:
        _logger.warning("%d folders of images have no annotations and are left out", unused)
    return videos


def _pair(image_folder: Path, annotations: dict[str, Path]) -> list[tuple[Path, Path | None]]:
    """The images of a folder, each with its annotation or None."""
    example = next(iter(annotations.values()))
    if not image_folder.is_dir():
        raise UserError(f"the images of {example.parent} should lie in {image_folder}")
    images: dict[str, Path] = {}
    for path in list_images(image_folder):
        if path.stem in images:
            raise UserError(f"{images[path.stem]} and {path.name} are two images of one frame")
        images[path.stem] = path
    for stem, path in annotations.items():
        if stem not in images:
            raise UserError(f"no image in {image_folder} belongs to {path}")
    return [(path, annotations.get(stem)) for stem, path in images.items()]


def check_size(path: Path, size: tuple[int, int] | None) -> tuple[int, int]:
    """Check the size of an image, turned as its orientation tag says; reads its header only.

    Args:
        path: the image.
        size: height and width that it must have; None = any.

    Returns:
        Height and width in pixels.

    Raises:
        UserError: it cannot be read, or has another size.
    """
    height, width = read_image_size(path)
    if size is not None and (height, width) != size:
        raise UserError(
            f"{path} has {height} x {width} pixels (height x width), but an earlier frame of the "
            f"video or its annotation has {size[0]} x {size[1]}"
        )
    return height, width


@dataclass(frozen=True)
class ClassFile:
    """What a file of classes says.

    Attributes:
        classes: names in the order of the category ids 1, 2, ...
        videos: class name by object id, by the folder of the video.
    """

    classes: list[str]
    videos: dict[str, dict[int, str]] = field(default_factory=dict)


def read_class_file(path: str | os.PathLike) -> ClassFile:
    """Read a YAML or JSON file with the keys ``classes`` and, optionally, ``videos``.

    Args:
        path: the file, for example::

            classes: [person, dog]
            videos:
              park: {1: dog, 2: person}

    Returns:
        Its content.

    Raises:
        UserError: it cannot be read or is malformed.
    """
    try:
        content = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path} is neither YAML nor JSON: {error}") from error
    if not isinstance(content, dict) or not {"classes"} <= content.keys() <= {"classes", "videos"}:
        raise UserError(f"{path} must be a mapping with the key 'classes' and perhaps 'videos'")
    classes, videos = content["classes"], content.get("videos") or {}
    if (
        not isinstance(classes, list)
        or not classes
        or not all(isinstance(name, str) and name for name in classes)
        or len(set(classes)) < len(classes)
    ):
        raise UserError(f"{path}: 'classes' must be a list of different names")
    if not isinstance(videos, dict):
        raise UserError(f"{path}: 'videos' must map folders to classes by object id")
    return ClassFile(
        classes,
        {str(name): _read_objects(path, name, entry, classes) for name, entry in videos.items()},
    )


def _read_objects(
    path: str | os.PathLike, video: Any, entry: Any, classes: list[str]
) -> dict[int, str]:
    where = f"{path}: video {video!r}"
    if not isinstance(entry, dict):
        raise UserError(f"{where} must map object ids to class names, not be {entry!r}")
    for name in entry.values():
        if name not in classes:
            raise UserError(f"{where}: {name!r} is not in 'classes'")
    try:
        return {int(key): name for key, name in entry.items()}
    except (TypeError, ValueError) as error:
        raise UserError(f"{where}: object ids must be integers: {error}") from error
