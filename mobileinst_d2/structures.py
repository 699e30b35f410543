"""Between the tensors of Detectron2 and the arrays of mobileinst_core."""

import numpy as np
import torch
from detectron2.structures import Boxes, Instances

from mobileinst_core.detections import Detections

__all__ = ["to_array", "to_detections", "to_instances"]


def to_detections(instances: Instances) -> Detections:
    """Copy the results of a network to arrays.

    Args:
        instances: ``pred_masks``, ``pred_boxes``, ``scores`` and ``pred_classes``, on any device;
            of tracked frames also ``ID``.

    Returns:
        The same instances.
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
