"""From Detectron2's instances to the arrays that drawing and files take."""

import numpy as np
from detectron2.structures import Instances

from mobileinst_core.detections import Detections

__all__ = ["to_detections"]


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
