"""A COCO annotation file as records for training and inference, and for the metric."""

import logging
import os
from typing import Any

from mobileinst_core.entries import Finding, naming_annotations, stop_at_error
from mobileinst_core.files import read_json
from mobileinst_core.masks.rle import CheckedRle, rle_area

from .annotations import Annotation, CocoFile

__all__ = ["load_ground_truth", "load_records"]

_logger = logging.getLogger(__name__)


def load_records(
    json_file: str | os.PathLike, image_root: str | os.PathLike
) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Read an annotation file in COCO format.

    What is missing is computed: areas, boxes, and ``iscrowd`` 0. Polygons stay polygons, run-length
    codes become compressed. All images are kept, those without annotations too.

    Args:
        json_file: annotation file.
        image_root: folder to which the file names in it are relative.

    Returns:
        One record per image by ascending id, and the class names by category id, in the order of
        the contiguous indices. A record has ``image_id``, ``height``, ``width``, ``file_name`` (a
        path) and ``annotations``, each with ``category_id`` (contiguous, from 0), ``iscrowd``,
        ``bbox`` (x, y, width, height in pixels), ``area`` (pixels) and, if it has a mask,
        ``segmentation``.

    Raises:
        UserError: the file cannot be read, or its content is of another kind, incomplete or
            inconsistent; the message names the file, the entry and what to do.
    """
    content, warnings = read_json(json_file), _Warnings(json_file)
    with naming_annotations(json_file):
        file = CocoFile(content, warnings.report)
        labels = {category_id: label for label, category_id in enumerate(file.categories)}
        records = {
            image.id: {
                "image_id": image.id,
                "height": image.height,
                "width": image.width,
                "file_name": os.path.join(image_root, image.file_name),
                "annotations": [],
            }
            for image in file.images.values()
        }
        num_annotations = 0
        for annotation in file.annotations():
            category_id = labels[annotation.category_id]
            record = {"category_id": category_id, **_values(annotation)}
            mask = record.get("segmentation")
            if isinstance(mask, dict) and rle_area(mask):
                record["segmentation"] = CheckedRle(mask)
            records[annotation.image.id]["annotations"].append(record)
            num_annotations += 1
    warnings.log()
    _logger.info(
        "Loaded %d images with %d annotations in COCO format from %s",
        len(records),
        num_annotations,
        json_file,
    )
    return list(records.values()), file.categories


def load_ground_truth(
    json_file: str | os.PathLike, *, with_masks: bool, content: Any = None
) -> dict[str, Any]:
    """Read an annotation file for pycocotools, with all that it needs.

    Areas, boxes and ``iscrowd`` are computed where they are missing. If an id of an annotation is
    missing, below 1 or used twice, all annotations are renumbered: pycocotools takes 0 for "no
    match", and keeps one annotation of each id.

    Args:
        json_file: annotation file.
        with_masks: leave out the annotations without a mask, which no mask can match.
        content: of the file, where it is known; None = it is read.

    Returns:
        ``images``, ``categories`` and ``annotations`` in COCO format, ready for
        ``pycocotools.coco.COCO``; no ``annotations`` if the file has no ground truth.

    Raises:
        UserError: see `load_records`.
    """
    content = read_json(json_file) if content is None else content
    warnings = _Warnings(json_file)

    def report(finding: Finding) -> None:
        if finding.in_metric or not finding.is_error:
            warnings.report(finding)

    with naming_annotations(json_file):
        file = CocoFile(content, report)
        annotations = [a for a in file.annotations() if a.segmentation or not with_masks]
    warnings.log()
    is_numbered = all(a.annotation_id is not None and a.annotation_id > 0 for a in annotations)
    truth = {
        "info": {},
        "images": [
            {"id": image.id, "height": image.height, "width": image.width}
            for image in file.images.values()
        ],
        "categories": [{"id": key, "name": name} for key, name in file.categories.items()],
    }
    if file.has_annotations:
        truth["annotations"] = [
            {
                "id": annotation.annotation_id if is_numbered else position,
                "image_id": annotation.image.id,
                "category_id": annotation.category_id,
                **_values(annotation),
            }
            for position, annotation in enumerate(annotations, start=1)
        ]
    return truth


def _values(annotation: Annotation) -> dict[str, Any]:
    values = {
        "iscrowd": int(annotation.is_crowd),
        "bbox": annotation.box,
        "area": annotation.area,
    }
    if annotation.segmentation:
        values["segmentation"] = annotation.segmentation
    return values


class _Warnings:
    """Stops at errors, and logs warnings of one kind together."""

    def __init__(self, json_file: str | os.PathLike) -> None:
        self._json_file = json_file
        self._messages: dict[str, list[str]] = {}

    def report(self, finding: Finding) -> None:
        stop_at_error(finding)
        self._messages.setdefault(finding.group, []).append(finding.message)

    def log(self) -> None:
        for messages in self._messages.values():
            more = f" (and {len(messages) - 1} more like it)" if len(messages) > 1 else ""
            _logger.warning("%s: %s%s", self._json_file, messages[0], more)
