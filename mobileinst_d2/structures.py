"""Mapped records, their batches, and the arrays of mobileinst_core as tensors of Detectron2."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.structures import Boxes, ImageList, Instances

from mobileinst_core.detections import Detections

__all__ = [
    "check_images",
    "is_clip",
    "pad_images",
    "pad_to_size",
    "per_frame",
    "to_array",
    "to_detections",
    "to_instances",
]

# The least that a mobile backbone takes, in pixels.
_MIN_SIDE = 64


def is_clip(item: dict) -> bool:
    """Whether a mapped record is of a clip, with lists over the frames, and not of an image."""
    return isinstance(item["image"], Sequence)


def per_frame(item: dict, key: str) -> list:
    """What a mapped record has under a key for each frame of a clip, or for the one image."""
    return item[key] if is_clip(item) else [item[key]]


def check_images(images: Iterable[torch.Tensor], num_channels: int) -> None:
    """Make sure that images are tensors (C, H, W).

    A grey one would be normalised to all channels, and of (H, W, C) a side be taken for them.

    Raises:
        ValueError: if one is not.
    """
    for image in images:
        if not isinstance(image, torch.Tensor):
            found = type(image).__name__
        elif image.ndim != 3 or image.shape[0] != num_channels or image.numel() == 0:
            found = f"one of shape {tuple(image.shape)}"
        else:
            continue
        raise ValueError(
            f"an 'image' is a tensor ({num_channels}, H, W) with pixels in [0, 255], got {found}; "
            "a mapper gives torch.as_tensor(array.transpose(2, 0, 1).copy()) of an array (H, W, "
            f"{num_channels})"
        )


def pad_to_size(x: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Pad maps (..., h, w) with 0 to (..., H, W).

    Raises:
        ValueError: if they are larger.
    """
    height, width = x.shape[-2:]
    if height > size[0] or width > size[1]:
        raise ValueError(
            f"an image of {height}x{width} pixels does not fit into {size[0]}x{size[1]}; the "
            "mappers and FramePreparation resize it to INPUT.FIXED_SIZE_TEST"
        )
    return F.pad(x, (0, size[1] - width, 0, size[0] - height))


def pad_images(
    images: Sequence[torch.Tensor], divisor: int, size: tuple[int, int] | None = None
) -> ImageList:
    """Batch images of any sizes, padded with 0.

    Args:
        images: B images (3, h, w).
        divisor: divides the sides of the batch, if ``size`` does not say them.
        size: (H, W) of the batch; None = as small as can be, with sides of at least 64, the least
            that a mobile backbone takes.

    Returns:
        (B, 3, H, W).

    Raises:
        ValueError: if an image is larger than ``size``.
    """
    sizes = [tuple(image.shape[-2:]) for image in images]
    if size is None:
        sides = (max(_MIN_SIDE, *lengths) for lengths in zip(*sizes, strict=True))
        size = tuple(-(-side // divisor) * divisor for side in sides)
    return ImageList(torch.stack([pad_to_size(image, size) for image in images]), sizes)


def to_detections(instances: Instances) -> Detections:
    """Copy the results of a network, on any device, to arrays.

    Args:
        instances: ``pred_masks``, ``pred_boxes``, ``scores`` and ``pred_classes``; of tracked
            frames also ``ID``.
    """
    return Detections(
        masks=instances.pred_masks.cpu().numpy(),
        boxes=instances.pred_boxes.tensor.cpu().numpy(),
        scores=instances.scores.cpu().numpy(),
        classes=instances.pred_classes.cpu().numpy(),
        ids=np.array(instances.ID, np.int64) if instances.has("ID") else None,
    )


def to_array(tensor: torch.Tensor) -> np.ndarray:
    """A float32 array of the values."""
    return tensor.detach().float().cpu().numpy()


def to_instances(detections: Detections, device: torch.device | str = "cpu") -> Instances:
    """Pack results in Detectron2's form.

    Args:
        detections: n instances of an image of size (H, W).
        device: where the tensors go.

    Returns:
        ``pred_masks`` (n, H, W) bool, or the list ``pred_rles`` if the masks are RLEs,
        ``pred_boxes``, ``scores`` and ``pred_classes``, of image size (H, W). Where frames are
        tracked, also the lists ``ID`` (from 1, never used again), ``ID_period`` (frames in which
        the identity was shown) and ``lost_frame_count`` (0: only what is visible is detected).
    """
    if isinstance(detections.masks, list):
        masks = {"pred_rles": detections.masks}
    else:
        masks = {"pred_masks": torch.from_numpy(detections.masks).to(device)}
    instances = Instances(
        detections.image_size,
        **masks,
        pred_boxes=Boxes(torch.from_numpy(detections.boxes).to(device)),
        scores=torch.from_numpy(detections.scores).to(device),
        pred_classes=torch.from_numpy(detections.classes).to(device),
    )
    if detections.ids is not None:
        instances.ID = detections.ids.tolist()
        instances.ID_period = detections.periods.tolist()
        instances.lost_frame_count = [0] * len(detections)
    return instances
