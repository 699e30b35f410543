"""Samples as a network gets them, with ground truth or predictions drawn over them."""

import math
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.structures import Instances

from mobileinst_core.detections import Detections
from mobileinst_core.video.drawing import TrackVisualizer
from mobileinst_d2.structures import to_detections

__all__ = ["draw_predictions", "draw_truth", "to_frame", "truth_detections"]

# The short side that drawn frames have at least: on smaller ones labels would hide the objects.
MIN_SIDE = 256


def to_frame(image: torch.Tensor, image_format: str) -> np.ndarray:
    """An image (3, H, W) in [0, 255], in the channel order of INPUT.FORMAT, as (H, W, 3) BGR."""
    frame = image.detach().cpu().clamp(0, 255).byte().permute(1, 2, 0).numpy()
    return np.ascontiguousarray(frame[..., ::-1] if image_format == "RGB" else frame)


def truth_detections(instances: Instances) -> Detections:
    """Ground truth in the form of detections, without scores.

    Args:
        instances: ``gt_masks`` and ``gt_classes``; of a frame of a clip also ``gt_ids``, where -1
            is an object that is not visible, which is left out.

    Returns:
        The visible objects; identities count from 1.
    """
    if not instances.has("gt_masks"):
        return Detections(
            masks=np.zeros((0, *instances.image_size), bool),
            boxes=np.zeros((0, 4), np.float32),
            scores=np.zeros(0, np.float32),
            classes=np.zeros(0, np.int64),
        )
    ids = instances.gt_ids if instances.has("gt_ids") else None
    shown = instances if ids is None else instances[ids != -1]
    return Detections(
        masks=shown.gt_masks.tensor.cpu().numpy(),
        boxes=shown.gt_boxes.tensor.cpu().numpy(),
        scores=np.full(len(shown), np.nan, np.float32),
        classes=shown.gt_classes.cpu().numpy(),
        ids=None if ids is None else shown.gt_ids.cpu().numpy() + 1,
    )


def draw_truth(
    image: torch.Tensor,
    instances: Instances,
    class_names: Sequence[str],
    *,
    image_format: str,
    mark: str = "ground truth",
) -> np.ndarray:
    """Draw a training sample.

    Args:
        image: (3, H, W) in [0, 255].
        instances: see `truth_detections`.
        class_names: names by contiguous class index.
        image_format: INPUT.FORMAT.
        mark: a word for the corner.

    Returns:
        (k H, k W, 3) uint8, BGR, with the whole number k that gives a short side of MIN_SIDE.
    """
    detections = truth_detections(instances)
    return _draw(to_frame(image, image_format), detections, class_names, mark)


def draw_predictions(
    image: torch.Tensor,
    instances: Instances,
    class_names: Sequence[str],
    *,
    image_format: str,
    min_score: float,
) -> np.ndarray:
    """Draw what a network found, see `draw_truth`; instances below a score are left out."""
    detections = to_detections(instances)
    detections = detections[detections.scores >= min_score]
    return _draw(to_frame(image, image_format), detections, class_names, "prediction")


def _draw(
    frame: np.ndarray, detections: Detections, class_names: Sequence[str], mark: str
) -> np.ndarray:
    factor = math.ceil(MIN_SIDE / min(frame.shape[:2]))
    larger = Detections(
        masks=detections.masks.repeat(factor, 1).repeat(factor, 2),
        boxes=detections.boxes * factor,
        scores=detections.scores,
        classes=detections.classes,
        ids=detections.ids,
    )
    frame = frame.repeat(factor, 0).repeat(factor, 1)
    return TrackVisualizer(class_names).draw_instance_predictions(frame, larger, mark=mark)
