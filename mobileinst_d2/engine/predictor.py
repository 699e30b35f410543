"""A trained model, ready to predict."""

import logging

from detectron2.config import CfgNode
from detectron2.engine import DefaultPredictor

from .checkpoint import CheckpointError, TrainingCheckpointer
from .setup import ConfigError, without_backbone_weights

__all__ = ["load_predictor"]

logger = logging.getLogger(__name__)


def load_predictor(cfg: CfgNode) -> DefaultPredictor:
    """Build the model of a config and load ``MODEL.WEIGHTS``.

    Args:
        cfg: the config.

    Returns:
        Detectron2's predictor of single images, which resizes as in evaluation; its ``model``
        is in evaluation mode.

    Raises:
        ConfigError: the config describes no model that can be built.
        CheckpointError: the weights are missing, damaged or belong to another model.
    """
    if not cfg.MODEL.WEIGHTS:
        logger.warning(
            "MODEL.WEIGHTS is empty: the model is RANDOM and so is what it shows. "
            "Give trained weights with --opts MODEL.WEIGHTS model_final.pth."
        )
    # The weights are loaded below, with errors that say more.
    without_weights = without_backbone_weights(cfg).clone()
    without_weights.MODEL.WEIGHTS = ""
    try:
        predictor = DefaultPredictor(without_weights)
    except (KeyError, OSError, ValueError) as error:
        raise ConfigError(f"the model cannot be built: {error}") from error
    try:
        if cfg.MODEL.WEIGHTS:
            TrainingCheckpointer(predictor.model).load(cfg.MODEL.WEIGHTS)
    except OSError as error:
        raise CheckpointError(f"cannot load the weights: {error}") from error
    return predictor
