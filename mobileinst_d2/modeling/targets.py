"""Ground truth: its checks, and the form that matcher and criterion read."""

from collections.abc import Iterable
from typing import NamedTuple

import torch
from detectron2.structures import BitMasks, Boxes, Instances, PolygonMasks

from mobileinst_d2.structures import pad_to_size, per_frame

from .layers import bilinear_resize

__all__ = [
    "BoxTargets",
    "FrameTargets",
    "check_ground_truth",
    "prepare_box_targets",
    "prepare_targets",
    "visible",
]


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


class BoxTargets(NamedTuple):
    """The M objects of an image that is stretched to the network's input, whatever its shape.

    Attributes:
        labels: (M,), int64 contiguous classes.
        boxes: (M, 4), float32 x0, y0, x1, y1 as fractions of the image.
        masks: (M, H, W), bool, of the size that the image had.
        crowd_boxes: (C, 4), of regions with many objects, as ``boxes``.
    """

    labels: torch.Tensor
    boxes: torch.Tensor
    masks: torch.Tensor
    crowd_boxes: torch.Tensor


def check_ground_truth(batched_inputs: Iterable[dict], num_classes: int | None) -> None:
    """Make sure that images have ground truth of their own size, and classes of the network.

    Masks of another size would be trained where they do not lie; a class out of range is an error
    in the middle of a GPU's kernels, and one below 0 counts from the last.

    Args:
        batched_inputs: what the model is given in training.
        num_classes: of the network; None = they are not checked.

    Raises:
        ValueError: if they have none, or other ones.
    """
    for item in batched_inputs:
        where = _name(item)
        if "instances" not in item:
            raise ValueError(
                f"{where} has no 'instances' to train on: a mapper for training gives them, also "
                "where an image shows no object"
            )
        frames = zip(per_frame(item, "image"), per_frame(item, "instances"), strict=True)
        for image, instances in frames:
            _check_frame(image, instances, num_classes, where)


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
    frames = [_visible_objects(frame) for frame in instances]
    counts = [len(labels) for labels, _, _ in frames]
    # One transfer of numbers and one of masks, as a GPU is waited for at each; boxes stay here.
    numbers = torch.cat([torch.stack([labels, rows]) for labels, rows, _ in frames], dim=1)
    padded = torch.cat([pad_to_size(masks, padded_size) for _, _, masks in frames])
    numbers, padded = numbers.to(device), padded.to(device)
    targets = []
    for (labels, rows), masks in zip(
        numbers.split(counts, dim=1), padded.split(counts), strict=True
    ):
        if len(labels):
            resized = bilinear_resize(masks.float()[None], mask_size)[0]
        else:
            resized = torch.zeros((0, *mask_size), device=device)
        targets.append(FrameTargets(labels, resized, rows))
    return targets


def prepare_box_targets(
    instances: Instances,
    crowd_boxes: Boxes | None,
    *,
    min_size: tuple[float, float],
    device: torch.device,
) -> BoxTargets:
    """The ground truth of an image in fractions of it.

    Args:
        instances: ``gt_classes`` and ``gt_masks``. Boxes are the bounds of the masks, as masks may
            be all that is annotated.
        crowd_boxes: in pixels of the image; None = there are none.
        min_size: (height, width) that a box must have, as fractions of the image. Smaller objects
            are left out, and so are those without a pixel.
        device: where the targets go.

    Returns:
        The targets.
    """
    height, width = instances.image_size
    scale = torch.tensor([width, height, width, height], dtype=torch.float32)
    crowds = torch.zeros(0, 4) if crowd_boxes is None else crowd_boxes.tensor.cpu() / scale
    if len(instances) == 0:
        masks = torch.zeros((0, height, width), dtype=torch.bool)
        labels = torch.zeros(0, dtype=torch.int64)
        targets = BoxTargets(labels, torch.zeros(0, 4), masks, crowds)
        return BoxTargets(*(x.to(device) for x in targets))
    # Where the loader has put them: bounds of masks are looked for one by one.
    instances = instances.to("cpu")
    masks = _bit_masks(instances)
    boxes = BitMasks(masks).get_bounding_boxes().tensor
    widths, heights = (boxes[:, 2:] - boxes[:, :2]).T
    # Sides are whole pixels; a limit that should be one may be a little more by rounding.
    keep = (heights > min_size[0] * height - 1e-3) & (widths > min_size[1] * width - 1e-3)
    keep &= (heights > 0) & (widths > 0)
    targets = BoxTargets(
        instances.gt_classes[keep].long(), boxes[keep] / scale, masks[keep], crowds
    )
    return BoxTargets(*(x.to(device) for x in targets))


def visible(frame: Instances) -> torch.Tensor:
    """Which objects (N,) a frame shows, bool: all where it has no ``gt_ids`` that are -1."""
    if frame.has("gt_ids"):
        return frame.gt_ids != -1
    return torch.ones_like(frame.gt_classes, dtype=torch.bool)


def _visible_objects(frame: Instances) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Classes (M,), rows (M,) and masks (M, H, W) bool of the objects that a frame shows."""
    labels = frame.gt_classes
    rows = torch.arange(len(frame), device=labels.device)[visible(frame)]
    if len(rows) == 0:
        empty = torch.zeros((0, *frame.image_size), dtype=torch.bool, device=labels.device)
        return rows, rows, empty
    return labels[rows].long(), rows, _bit_masks(frame)[rows]


def _bit_masks(frame: Instances) -> torch.Tensor:
    """(N, H, W) bool masks of ``gt_masks`` in any of Detectron2's forms."""
    masks = frame.gt_masks
    if isinstance(masks, PolygonMasks):
        masks = BitMasks.from_polygon_masks(masks, *frame.image_size)
    if isinstance(masks, BitMasks):
        masks = masks.tensor
    return masks.to(frame.gt_classes.device)


def _check_frame(
    image: torch.Tensor, instances: Instances, num_classes: int | None, where: str
) -> None:
    size, of_truth = tuple(image.shape[-2:]), tuple(instances.image_size)
    if len(instances) == 0:
        return
    if not instances.has("gt_masks"):
        raise ValueError(
            f"the instances of {where} have no 'gt_masks': Detectron2's mapper gives them with "
            "MODEL.MASK_ON True"
        )
    masks = instances.gt_masks
    if isinstance(masks, BitMasks | torch.Tensor):
        tensor = masks.tensor if isinstance(masks, BitMasks) else masks
        of_truth = tuple(tensor.shape[-2:]) if of_truth == size else of_truth
    if of_truth != size:
        raise ValueError(
            f"{where} has {size[0]}x{size[1]} pixels, but its ground truth is of "
            f"{of_truth[0]}x{of_truth[1]}: a mapper resizes, crops and flips both"
        )
    if num_classes is None:
        return
    low, high = instances.gt_classes.aminmax()
    if low < 0 or high >= num_classes:
        raise ValueError(
            f"{where} has an object of class {int(low if low < 0 else high)}, but the network's "
            f"classes are 0 to {num_classes - 1}: set MODEL.NUM_CLASSES, or correct 'gt_classes', "
            "which are no category ids"
        )


def _name(item: dict) -> str:
    for key in ("file_name", "image_id", "video_id"):
        if key in item:
            return f"{key} {item[key]!r}"
    return "an image of the batch"
