"""Inputs of the model with rectangles as objects."""

from collections.abc import Sequence

import torch
from detectron2.structures import BitMasks, Boxes, Instances
from tiny_models import noise_image
from torch import nn

Rectangle = tuple[int, int, int, int]


def rectangles(height: int, width: int, count: int) -> list[Rectangle]:
    """``count`` different (top, left, bottom, right) inside an image."""
    result = []
    for i in range(count):
        top, left = (7 * i) % (height // 2), (11 * i) % (width // 2)
        result.append((top, left, top + height // 3 + i % 5, left + width // 3 + i % 3))
    return result


def make_instances(
    size: tuple[int, int], boxes: Sequence[Rectangle | None], labels: Sequence[int] | None = None
) -> Instances:
    """Ground truth with one rectangle per row; None = the object is not visible (a clip's row)."""
    masks = torch.zeros((len(boxes), *size), dtype=torch.bool)
    for mask, box in zip(masks, boxes, strict=True):
        if box is not None:
            top, left, bottom, right = box
            mask[top:bottom, left:right] = True
    instances = Instances(size)
    instances.gt_classes = torch.tensor(
        [i % 4 for i in range(len(boxes))] if labels is None else list(labels), dtype=torch.int64
    )
    instances.gt_masks = BitMasks(masks)
    instances.gt_boxes = Boxes(torch.zeros(len(boxes), 4))
    if any(box is None for box in boxes):
        instances.gt_ids = torch.tensor([-1 if b is None else i for i, b in enumerate(boxes)])
    return instances


def image_input(height: int = 96, width: int = 128, objects: int = 1, seed: int = 0) -> dict:
    """A training input with so many objects."""
    return {
        "image": noise_image(height, width, seed),
        "instances": make_instances((height, width), rectangles(height, width, objects)),
        "height": height,
        "width": width,
    }


def clip_input(
    frames: Sequence[Sequence[Rectangle | None]], height: int = 96, width: int = 128, seed: int = 0
) -> dict:
    """A training clip: per frame the rectangles of the same objects, None where not visible."""
    return {
        "image": [noise_image(height, width, seed + t) for t in range(len(frames))],
        "instances": [make_instances((height, width), boxes) for boxes in frames],
        "height": height,
        "width": width,
    }


def freeze_statistics(model: nn.Module) -> nn.Module:
    """Training mode, but the frames of a batch do not meet in the batch normalisations."""
    model.train()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    return model


def check_training_step(model: nn.Module, batch: list[dict], names: set[str]) -> None:
    """Assert that a batch gives these losses, and every parameter a finite gradient."""
    model.zero_grad()
    losses = model(batch)
    assert set(losses) == names
    for name, value in losses.items():
        assert value.ndim == 0, name
        assert value.isfinite(), name
        assert value.item() >= 0, name
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
