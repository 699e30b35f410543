"""What mappers share: images as tensors, masks as ``Instances``, what happens to bad records."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances
from detectron2.utils.logger import log_first_n
from pycocotools import mask as mask_util

from mobileinst_core.errors import UserError
from mobileinst_core.masks.rle import MaskError, to_rle
from mobileinst_core.video.images import ImageReadError, ImageSizeError

__all__ = [
    "BadRecordError",
    "BadRecords",
    "decode_annotations",
    "decode_masks",
    "make_clip_instances",
    "make_instances",
    "to_tensor",
    "transform_crowd_boxes",
    "transform_masks",
]

# Failures in a row that are skipped.
_MAX_CONSECUTIVE = 10


class BadRecordError(UserError, ValueError):
    """The annotations of a record cannot be used; the message names it."""


class BadRecords:
    """What a mapper does about bad records in training: skip some, not many.

    They are images that are missing, damaged or of another size than their annotations say, and
    masks that are malformed. A mapper that returns None makes Detectron2 draw another sample, so
    that one damaged file does not end a run of days. Each fault is logged once. But many failures
    without one success in between mean that something else is wrong, most often the image folder;
    then the error is raised. The count is kept per loader process.
    """

    def __init__(self) -> None:
        """Start a count."""
        self._consecutive = 0
        self._logged: set[str] = set()

    def map(self, function: Callable[[dict], dict], record: dict) -> dict | None:
        """Map a record.

        Args:
            function: maps a record; raises one of the errors below if it is bad.
            record: its argument.

        Returns:
            What the function returned; None if the record is bad.

        Raises:
            ImageReadError, ImageSizeError, BadRecordError: there were too many failures in a row;
                the type is that of the last.
        """
        try:
            sample = function(record)
        except (ImageReadError, ImageSizeError, BadRecordError) as error:
            self._report(error)
            return None
        self._consecutive = 0
        return sample

    def _report(self, error: UserError) -> None:
        self._consecutive += 1
        if self._consecutive > _MAX_CONSECUTIVE:
            raise type(error)(
                f"{self._consecutive} samples in a row cannot be used; are annotation file and "
                f"image folder those of one dataset? The last: {error}"
            ) from error
        message = str(error).rstrip(".")
        if message not in self._logged:
            self._logged.add(message)
            logging.getLogger(__name__).error("%s. Another sample is drawn instead.", message)


def to_tensor(image: np.ndarray) -> torch.Tensor:
    """Convert (H, W, 3) uint8 to a tensor (3, H, W) uint8."""
    # Always a copy: a flipped image of one column counts as contiguous, with a negative stride.
    return torch.as_tensor(image.transpose(2, 0, 1).copy())


def decode_annotations(
    record: dict, size: tuple[int, int]
) -> tuple[list[dict], list[np.ndarray | None]]:
    """Annotations of an image record to train on, and their masks.

    Args:
        record: a record in Detectron2's standard format.
        size: (height, width) of the image in pixels.

    Returns:
        Those that are no crowd and have a mask, see `decode_masks`; a warning tells of others.

    Raises:
        BadRecordError: if a mask is malformed.
        ValueError: if the record has no annotations at all.
    """
    if "annotations" not in record:
        raise ValueError(
            f"The record of {record['file_name']} has no annotations; it cannot be trained on"
        )
    annotations = [a for a in record["annotations"] if not a.get("iscrowd", 0)]
    with_masks = [a for a in annotations if a.get("segmentation") is not None]
    if len(with_masks) < len(annotations):
        log_first_n(
            logging.WARNING,
            f"Annotations without a mask are left out; the first is of {record['file_name']}.",
        )
    annotations = with_masks
    try:
        return annotations, decode_masks([a["segmentation"] for a in annotations], size)
    except ValueError as error:
        raise BadRecordError(f"Annotations of {record['file_name']}: {error}") from error


def decode_masks(segmentations: Sequence[Any], size: tuple[int, int]) -> list[np.ndarray | None]:
    """Rasterise masks of one image.

    Polygons too are rasterised before any transform, so that a target does not depend on its
    encoding and cropping needs no polygon clipping.

    Args:
        segmentations: N masks in any form, None where invisible.
        size: (height, width) of the image in pixels.

    Returns:
        N masks (height, width) uint8 of zeros and ones; None where nothing is visible.

    Raises:
        ValueError: if a segmentation is malformed; the message names its position.
    """
    masks = []
    for row, segmentation in enumerate(segmentations):
        try:
            rle = to_rle(segmentation, *size)
        except MaskError as error:
            raise ValueError(f"segmentation {row}: {error}") from error
        masks.append(None if rle is None else mask_util.decode(rle))
    return masks


def transform_masks(
    masks: Sequence[np.ndarray | None],
    transforms: T.TransformList,
    *,
    output_size: tuple[int, int],
) -> torch.Tensor:
    """Apply the transforms of the image to its masks, nearest neighbour.

    Args:
        masks: N masks as `decode_masks` gives them.
        transforms: what was applied to the image.
        output_size: (height, width) after the transforms, in pixels.

    Returns:
        masks, (N, height, width) bool; all False where nothing is visible.
    """
    transformed = np.zeros((len(masks), *output_size), dtype=bool)
    for row, mask in enumerate(masks):
        if mask is not None:
            transformed[row] = transforms.apply_segmentation(mask)
    return torch.from_numpy(transformed)


def transform_crowd_boxes(
    record: dict, transforms: T.TransformList, *, output_size: tuple[int, int]
) -> Boxes:
    """Boxes of the crowd regions of an image record, after the transforms of the image.

    Args:
        record: a record in Detectron2's standard format.
        transforms: what was applied to the image.
        output_size: (height, width) after the transforms, in pixels.

    Returns:
        Those that have a part in the image, cut to it. Annotations without a box are left out.
    """
    boxes = [
        BoxMode.convert(a["bbox"], a["bbox_mode"], BoxMode.XYXY_ABS)
        for a in record["annotations"]
        if a.get("iscrowd", 0) and "bbox" in a
    ]
    if not boxes:
        return Boxes(torch.zeros(0, 4))
    moved = Boxes(torch.as_tensor(transforms.apply_box(np.array(boxes)), dtype=torch.float32))
    moved.clip(output_size)
    return moved[moved.nonempty()]


def make_instances(masks: torch.Tensor, classes: Sequence[int]) -> Instances:
    """Put masks and classes together; boxes are the tight boxes of the masks.

    Args:
        masks: (N, H, W) bool.
        classes: N contiguous class indices.

    Returns:
        Instances with ``gt_classes`` (N,) int64, ``gt_masks`` BitMasks (N, H, W) and ``gt_boxes``
        (all zero for an empty mask).
    """
    instances = Instances(tuple(masks.shape[1:]))
    instances.gt_classes = torch.as_tensor(list(classes), dtype=torch.int64)
    instances.gt_masks = BitMasks(masks)
    instances.gt_boxes = instances.gt_masks.get_bounding_boxes()
    return instances


def make_clip_instances(
    masks: Sequence[torch.Tensor], classes: Sequence[int], ids: Sequence[int]
) -> list[Instances]:
    """Put masks, classes and identities of a clip together; row i is the same object everywhere.

    Args:
        masks: per frame (N, H, W) bool.
        classes: N contiguous class indices.
        ids: N identities, from 0.

    Returns:
        per frame what `make_instances` gives, and ``gt_ids`` (N,) int64, -1 where the object has
        no pixel in this frame. Objects without a pixel in any frame are left out of all.
    """
    visible = torch.stack([frame_masks.flatten(1).any(dim=1) for frame_masks in masks])  # F, N
    keep = visible.any(dim=0)
    kept_ids = torch.as_tensor(list(ids), dtype=torch.int64)[keep]
    kept_classes = torch.as_tensor(list(classes), dtype=torch.int64)[keep].tolist()
    clip = []
    for frame_masks, frame_visible in zip(masks, visible, strict=True):
        instances = make_instances(frame_masks[keep], kept_classes)
        instances.gt_ids = torch.where(frame_visible[keep], kept_ids, -1)
        clip.append(instances)
    return clip
