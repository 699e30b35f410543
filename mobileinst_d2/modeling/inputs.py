"""Checks of what a model is given, whose faults would show later, elsewhere, or never."""

from collections.abc import Iterable

import torch
from detectron2.structures import BitMasks, Instances

from mobileinst_d2.structures import per_frame

__all__ = ["check_ground_truth", "check_images"]


def check_images(images: Iterable[torch.Tensor]) -> None:
    """Make sure that images are tensors (3, H, W).

    A grey one would be normalised to three channels, and of (H, W, 3) a side be taken for them.

    Raises:
        ValueError: if one is not.
    """
    for image in images:
        if not isinstance(image, torch.Tensor):
            found = type(image).__name__
        elif image.ndim != 3 or image.shape[0] != 3 or image.numel() == 0:
            found = f"one of shape {tuple(image.shape)}"
        else:
            continue
        raise ValueError(
            f"an 'image' is a tensor (3, H, W) with pixels in [0, 255], got {found}; a mapper "
            "gives torch.as_tensor(array.transpose(2, 0, 1).copy()) of an array (H, W, 3)"
        )


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
