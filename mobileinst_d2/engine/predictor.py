"""A trained model in PyTorch, ready to predict."""

import logging
import os
from collections.abc import Callable, Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import Instances

from mobileinst_core.detections import Detections
from mobileinst_core.tracking.offline import OfflineTracker
from mobileinst_core.tracking.online import OnlineTracker, scale_hysteresis
from mobileinst_d2.checkpoint import CheckpointError, TrainingCheckpointer
from mobileinst_d2.modeling.meta_arch import VideoSegmentor
from mobileinst_d2.structures import to_detections
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor
from mobileinst_d2.utils.classes import category_ids, class_names
from mobileinst_d2.utils.resizing import build_frame_preparation

from .setup import ConfigError, setup_cfg, unbuildable

__all__ = ["Predictor", "load_predictor", "open_predictor"]

logger = logging.getLogger(__name__)


class Predictor:
    """Predicts images as they are read from files, and tracks videos.

    It can do what :class:`mobileinst_core.runtime.model.ExportedModel` can.

    Attributes:
        model: predicts batches.
        prepare: resizes a frame (H, W, 3) in BGR to the network's image.
    """

    def __init__(self, cfg: CfgNode, model: Callable[[list[dict]], list[dict]]) -> None:
        """Set up.

        Args:
            cfg: the config of the model.
            model: takes and returns what Detectron2's networks do in evaluation.
        """
        self.model = model
        self.prepare = build_frame_preparation(cfg)
        self._cfg = cfg

    @property
    def class_names(self) -> list[str]:
        """Names of the classes, see :func:`mobileinst_d2.utils.classes.class_names`."""
        return class_names(self._cfg)

    @property
    def category_ids(self) -> list[int]:
        """Their ids in the data set, see :func:`mobileinst_d2.utils.classes.category_ids`."""
        return category_ids(self._cfg)

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> dict[str, Instances]:
        """Predict an image (H, W, 3) uint8 in BGR, as Detectron2's ``DefaultPredictor`` does.

        Returns:
            ``instances``, best first, with masks of the image's size.

        Raises:
            ValueError: if it is none, for instance None, which OpenCV reads from a missing file.
        """
        prepared = torch.from_numpy(self.prepare(image))
        height, width = image.shape[:2]
        return self.model([{"image": prepared, "height": height, "width": width}])[0]

    def predict(self, image: np.ndarray) -> Detections:
        """The same as detections, which is what trackers and the demo take."""
        return to_detections(self(image)["instances"])

    def online_tracker(self, score_on: float | None = None) -> OnlineTracker:
        """Track live.

        Args:
            score_on: score from which tracks are shown, see
                :func:`~mobileinst_core.tracking.online.scale_hysteresis`; None = that of the
                config.

        Returns:
            A tracker that takes frames (H, W, 3) in BGR of any size.

        Raises:
            ConfigError: the model cannot track.
            ValueError: an option of the config is unknown or out of range.
        """
        self._require_video()
        options = StreamingPredictor.from_config(self._cfg, self.model)
        if score_on is not None:
            options = scale_hysteresis(options, score_on)
        return OnlineTracker(**options)

    def offline_tracker(self) -> OfflineTracker:
        """Track whole videos.

        Returns:
            A tracker that takes images as ``prepare`` makes them.

        Raises:
            ConfigError: the model cannot track.
            ValueError: an option of the config is unknown or out of range.
        """
        self._require_video()
        return VideoPredictor(self._cfg, self.model)

    def _require_video(self) -> None:
        if not isinstance(self.model, VideoSegmentor):
            raise ConfigError(
                f"{self._cfg.MODEL.META_ARCHITECTURE} predicts single images and cannot track; "
                "use --input with images."
            )


def open_predictor(config_file: str | os.PathLike, opts: Sequence[str] = ()) -> Predictor:
    """Load what a config file describes, a yaml file or the name of a config, with overrides.

    See :func:`~mobileinst_d2.engine.setup.setup_cfg` and :func:`load_predictor`.
    """
    return load_predictor(setup_cfg(config_file, opts))


def load_predictor(cfg: CfgNode) -> Predictor:
    """Build the model of a config and load ``MODEL.WEIGHTS``.

    Returns:
        The predictor, which resizes as in evaluation; its ``model`` is in evaluation mode.

    Raises:
        ConfigError: the config describes no model that can be built.
        CheckpointError: the weights are missing, damaged or belong to another model.
    """
    if not cfg.MODEL.WEIGHTS:
        logger.warning(
            "MODEL.WEIGHTS is empty: the model is RANDOM and so is what it shows. "
            "Set MODEL.WEIGHTS to trained weights."
        )
    try:
        model = build_model(cfg).eval()
    except (KeyError, OSError, ValueError) as error:
        raise unbuildable(error) from error
    try:
        if cfg.MODEL.WEIGHTS:
            TrainingCheckpointer(model, to_predict=True).load(cfg.MODEL.WEIGHTS)
    except OSError as error:
        raise CheckpointError(f"cannot load the weights: {error}") from error
    return Predictor(cfg, model)
