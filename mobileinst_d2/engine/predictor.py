"""A trained model, ready to predict."""

import logging
from collections.abc import Callable

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from mobileinst_d2.tracking import FramePreparation

from .checkpoint import CheckpointError, TrainingCheckpointer
from .setup import ConfigError, without_backbone_weights

__all__ = ["Predictor", "load_predictor"]

logger = logging.getLogger(__name__)


class Predictor:
    """Predicts single images as they are read from files.

    Attributes:
        model: predicts batches.
    """

    def __init__(self, cfg: CfgNode, model: Callable[[list[dict]], list[dict]]) -> None:
        """Set up.

        Args:
            cfg: says how images are prepared.
            model: takes and returns what Detectron2's networks do in evaluation.
        """
        self.model = model
        self.prepare = FramePreparation(cfg)

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> dict:
        """Predict one image.

        Args:
            image: (H, W, 3), uint8, BGR.

        Returns:
            ``instances`` of the image's size.
        """
        height, width = image.shape[:2]
        item = {"image": self.prepare(image), "height": height, "width": width}
        return self.model([item])[0]


def load_predictor(cfg: CfgNode) -> Predictor:
    """Build the model of a config and load ``MODEL.WEIGHTS``.

    Args:
        cfg: the config.

    Returns:
        The predictor of single images, which resizes as in evaluation; its ``model`` is in
        evaluation mode.

    Raises:
        ConfigError: the config describes no model that can be built.
        CheckpointError: the weights are missing, damaged or belong to another model.
    """
    if not cfg.MODEL.WEIGHTS:
        logger.warning(
            "MODEL.WEIGHTS is empty: the model is RANDOM and so is what it shows. "
            "Give trained weights with --opts MODEL.WEIGHTS model_final.pth."
        )
    try:
        model = build_model(without_backbone_weights(cfg)).eval()
    except (KeyError, OSError, ValueError) as error:
        raise ConfigError(f"the model cannot be built: {error}") from error
    try:
        if cfg.MODEL.WEIGHTS:
            TrainingCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    except OSError as error:
        raise CheckpointError(f"cannot load the weights: {error}") from error
    return Predictor(cfg, model)
