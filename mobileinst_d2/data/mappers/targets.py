"""Masks and classes to the ``Instances`` that all models are trained with."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, Instances
from pycocotools import mask as mask_util

from mobileinst_d2.utils.rle import to_rle

__all__ = ["make_instances", "transform_masks"]


def transform_masks(
    segmentations: Sequence[Any],
    transforms: T.TransformList,
    *,
    size: tuple[int, int],
    output_size: tuple[int, int],
) -> torch.Tensor:
    """Rasterise masks and apply the transforms of the image to them, nearest neighbour.

    Polygons too are rasterised first, so that a target does not depend on its encoding and
    cropping needs no polygon clipping.

    Args:
        segmentations: N masks in any form, None where invisible.
        transforms: what was applied to the image.
        size: (height, width) before the transforms, in pixels.
        output_size: (height, width) after the transforms, in pixels.

    Returns:
        masks, (N, height, width) bool; all False where nothing is visible.

    Raises:
        ValueError: if a segmentation is malformed; the message names its position.
    """
    masks = np.zeros((len(segmentations), *output_size), dtype=bool)
    for row, segmentation in enumerate(segmentations):
        try:
            rle = to_rle(segmentation, *size)
        except ValueError as error:
            raise ValueError(f"segmentation {row}: {error}") from error
        if rle is not None:
            masks[row] = transforms.apply_segmentation(mask_util.decode(rle))
    return torch.from_numpy(masks)


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
