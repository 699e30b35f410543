"""Everything that is wrong with a COCO annotation file and its images."""

import os
from collections import Counter
from pathlib import Path
from typing import Any

from mobileinst_core.annotation_checks import check_category_names, compare_with_mask
from mobileinst_core.entries import Finding
from mobileinst_core.video.images import ImageReadError, ImageSizeError, read_image

from .annotations import CocoFile, Image

__all__ = ["check_content", "check_images"]


def check_content(content: Any) -> tuple[list[Finding], list[Image]]:
    """Find all faults of an annotation file.

    Errors are what the loader refuses, and what makes training or evaluation wrong; warnings are
    what is mended or skipped.

    Args:
        content: the content of the JSON file.

    Returns:
        The findings in the order of the file, and the images that can be checked with
        :func:`check_images`.
    """
    findings: list[Finding] = []
    file = CocoFile(content, findings.append)
    findings += check_category_names(file.categories)
    usable = [image for image in file.images.values() if image and image.file_name]
    for name, count in Counter(image.file_name for image in usable).items():
        if count > 1:
            message = f"{count} images have the file name {name!r}"
            findings.append(Finding("images", message, is_error=False))
    with_objects: set[int] = set()
    for annotation in file.annotations():
        rle = annotation.rle()
        if rle is not None:
            where = f"{annotation.name} of image {annotation.image.id}"
            findings += compare_with_mask(annotation.box, annotation.area, rle, where)
        elif annotation.segmentation:
            message = (
                f"{annotation.name} of image {annotation.image.id}: its mask has no pixel, but "
                "counts as missed in evaluation"
            )
            findings.append(Finding("masks", message, is_error=False))
        if not annotation.is_crowd:
            with_objects.add(annotation.image.id)
    empty = len(usable) - sum(image.id in with_objects for image in usable)
    if file.has_annotations and empty:
        message = f"{empty} images have no object that is not a crowd; training leaves them out"
        findings.append(Finding("images", message, is_error=False))
    return findings, usable


def check_images(
    images: list[Image], image_root: str | os.PathLike, *, decode: bool
) -> list[Finding]:
    """Find what is wrong with image files.

    Args:
        images: from :func:`check_content`.
        image_root: folder to which their file names are relative.
        decode: read every image, as training does, and compare its size; otherwise only look
            whether the file exists.

    Returns:
        A finding for each image.
    """
    findings = []
    for image in images:
        path = Path(image_root) / image.file_name
        message = None
        if not path.is_file():
            message = f"there is no image file {path}"
        elif decode:
            try:
                read_image(path, size=image.size)
            except (ImageReadError, ImageSizeError) as error:
                message = str(error)
        if message:
            findings.append(Finding("files", f"image {image.id}: {message}"))
    return findings
