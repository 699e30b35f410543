"""Ground truth in the form that matcher and criterion read."""

from typing import NamedTuple

import torch
from detectron2.structures import BitMasks, Instances, PolygonMasks

from .layers import bilinear_resize
from .padding import pad_to_size

__all__ = ["FrameTargets", "prepare_targets"]


class FrameTargets(NamedTuple):
    """The M visible objects of one frame.

    Attributes:
        labels: (M,), int64 contiguous classes.
        masks: (M, h, w), float32 in [0, 1], at the resolution of the mask logits.
        rows: (M,), int64 row of each object in the frame's ``Instances``. The same row is the
            same object in all frames of a clip.
    """

    labels: torch.Tensor
    masks: torch.Tensor
    rows: torch.Tensor


def prepare_targets(
    instances: list[Instances],
    padded_size: tuple[int, int],
    mask_size: tuple[int, int],
    device: torch.device,
) -> list[FrameTargets]:
    """Pad and resize the ground truth of a batch.

    Args:
        instances: per frame ``gt_classes``, ``gt_masks`` and, for clips, ``gt_ids`` with -1 for
            objects that this frame does not show.
        padded_size: (H, W) of the network's input; masks are padded with zeros to it.
        mask_size: (h, w) of the mask logits; masks are resized bilinearly to it.
        device: where the targets go.

    Returns:
        One entry per frame.
    """
    return [_prepare_frame(frame.to(device), padded_size, mask_size, device) for frame in instances]


def _prepare_frame(
    frame: Instances,
    padded_size: tuple[int, int],
    mask_size: tuple[int, int],
    device: torch.device,
) -> FrameTargets:
    rows = torch.arange(len(frame), device=device)
    if frame.has("gt_ids"):
        rows = rows[frame.gt_ids != -1]
    if len(rows) == 0:
        return FrameTargets(rows, torch.zeros((0, *mask_size), device=device), rows)
    masks = _bit_masks(frame)[rows].float()
    masks = bilinear_resize(pad_to_size(masks, padded_size)[None], mask_size)[0]
    return FrameTargets(frame.gt_classes[rows], masks, rows)


def _bit_masks(frame: Instances) -> torch.Tensor:
    """(N, H, W) bool masks of ``gt_masks`` in any of Detectron2's forms."""
    masks = frame.gt_masks
    if isinstance(masks, PolygonMasks):
        masks = BitMasks.from_polygon_masks(masks, *frame.image_size)
    if isinstance(masks, BitMasks):
        masks = masks.tensor
    return masks.to(frame.gt_classes.device)
