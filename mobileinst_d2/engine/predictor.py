"""A trained model, ready to predict."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model

from mobileinst_d2.checkpoint import CheckpointError, TrainingCheckpointer
from mobileinst_d2.export import ExportedModel
from mobileinst_d2.utils.classes import category_ids, class_names
from mobileinst_d2.utils.evaluation_resizing import build_frame_preparation

from .setup import ConfigError

__all__ = ["Predictor", "load_predictor"]

logger = logging.getLogger(__name__)


class Predictor:
    """Predicts single images as they are read from files, in PyTorch or exported.

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
        self._cfg = cfg
        self._prepare = build_frame_preparation(cfg)

    @torch.no_grad()
    def __call__(self, image: np.ndarray) -> dict:
        """Predict one image.

        Args:
            image: (H, W, 3), uint8, BGR.

        Returns:
            ``instances`` of the image's size.
        """
        height, width = image.shape[:2]
        image = torch.from_numpy(self._prepare(image))
        item = {"image": image, "height": height, "width": width}
        return self.model([item])[0]

    def class_names(self) -> list[str]:
        """Names of the classes, see `mobileinst_d2.utils.classes.class_names`.

        Raises:
            ConfigError: the file that holds them is damaged.
        """
        return self._describe("class_names", class_names)

    def category_ids(self) -> list[int]:
        """Their ids in the data set, see `mobileinst_d2.utils.classes.category_ids`.

        Raises:
            ConfigError: the file that holds them is damaged.
        """
        return self._describe("category_ids", category_ids)

    def _describe(self, key: str, read: Callable[[CfgNode], list]) -> list:
        """What an exported model tells of itself, or what is found by the config."""
        if isinstance(self.model, ExportedModel):
            return getattr(self.model.manifest, key)
        return read(self._cfg)


def load_predictor(
    cfg: CfgNode, folder: str | Path | None = None, runtime: str | None = None
) -> Predictor:
    """Build the model of a config and load ``MODEL.WEIGHTS``, or open an exported model.

    Args:
        cfg: the config; for an exported model that of its folder.
        folder: of an exported model; None = PyTorch.
        runtime: what to run that with; None = what it was exported for.

    Returns:
        The predictor of single images, which resizes as in evaluation; its ``model`` is in
        evaluation mode.

    Raises:
        ConfigError: the config describes no model that can be built.
        CheckpointError: the weights are missing, damaged or belong to another model.
        ExportError: the folder cannot be used, or the runtime is not installed.
    """
    if folder is not None:
        return Predictor(cfg, ExportedModel(cfg, folder, runtime=runtime))
    if not cfg.MODEL.WEIGHTS:
        logger.warning(
            "MODEL.WEIGHTS is empty: the model is RANDOM and so is what it shows. "
            "Set MODEL.WEIGHTS to trained weights."
        )
    try:
        model = build_model(cfg).eval()
    except (KeyError, OSError, ValueError) as error:
        raise ConfigError(f"the model cannot be built: {error}") from error
    try:
        if cfg.MODEL.WEIGHTS:
            TrainingCheckpointer(model).load(cfg.MODEL.WEIGHTS)
    except OSError as error:
        raise CheckpointError(f"cannot load the weights: {error}") from error
    return Predictor(cfg, model)
