"""Drawing with Detectron2's own visualizer: smooth letters and polygons, but slow."""

from collections.abc import Sequence

import numpy as np
from detectron2.structures import Instances
from detectron2.utils.visualizer import Visualizer

from .visualizer import instance_colors, label_texts

__all__ = ["Detectron2Visualizer"]


class Detectron2Visualizer:
    """Takes the place of `TrackVisualizer`, with the same colours and labels."""

    def __init__(self, class_names: Sequence[str] = ()) -> None:
        """Prepare a visualizer.

        Args:
            class_names: names by contiguous class index. Other indices are shown as "class 7".
        """
        self.class_names = tuple(class_names)

    def draw(
        self, frame: np.ndarray, instances: Instances, *, mark: str | None = None
    ) -> np.ndarray:
        """Draw instances over a copy of a frame.

        Args:
            frame: (H, W, 3) uint8, BGR.
            instances: see `TrackVisualizer.draw`.
            mark: a word about the frame itself, for its corner.

        Returns:
            (H, W, 3) uint8, BGR.
        """
        visualizer = Visualizer(np.ascontiguousarray(frame[..., ::-1]))
        if len(instances):
            colors = np.array(instance_colors(instances))[:, ::-1] / 255
            visualizer.overlay_instances(
                masks=instances.pred_masks.cpu().numpy(),
                labels=label_texts(instances, self.class_names),
                assigned_colors=list(map(tuple, colors)),
            )
        if mark:
            visualizer.draw_text(mark, (2, 2), horizontal_alignment="left")
        return np.ascontiguousarray(visualizer.output.get_image()[..., ::-1])
