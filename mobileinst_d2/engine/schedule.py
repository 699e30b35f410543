"""Schedules in epochs, which become iterations when the training data are known."""

import itertools
import logging
import os
from collections.abc import Iterable, Sequence

from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from mobileinst_core.errors import ConfigError

__all__ = ["resolve_epochs"]

logger = logging.getLogger(__name__)


def resolve_epochs(cfg: CfgNode, data_loader: Iterable[list[dict]]) -> CfgNode:
    """Turn SOLVER.EPOCHS and SOLVER.EPOCH_STEPS into SOLVER.MAX_ITER and SOLVER.STEPS.

    An epoch has seen as many frames as the training set has annotated ones, or as many images as
    it has, both together where videos are mixed with images as clips. The iterations are logged,
    and written to ``config.yaml`` in OUTPUT_DIR.

    Args:
        cfg: the config.
        data_loader: the training loader, with ``frames_per_epoch`` and ``frames_per_sample``.

    Returns:
        A config with the iterations; ``cfg`` itself where SOLVER.EPOCHS is 0.

    Raises:
        ConfigError: if the schedule makes no sense, or the loader does not know its frames.
    """
    epochs, steps = cfg.SOLVER.EPOCHS, list(cfg.SOLVER.EPOCH_STEPS)
    if epochs == 0:
        return cfg
    if epochs < 0:
        raise ConfigError(f"SOLVER.EPOCHS is {epochs}, choose a positive number, or 0 for MAX_ITER")
    if not _ascends([0, *steps, epochs]):
        raise ConfigError(
            f"SOLVER.EPOCH_STEPS is {steps}: the epochs must ascend, above 0 and below "
            f"SOLVER.EPOCHS ({epochs:g})"
        )
    frames_per_epoch = getattr(data_loader, "frames_per_epoch", None)
    if frames_per_epoch is None:
        raise ConfigError(
            f"SOLVER.EPOCHS is {epochs:g}, but a {type(data_loader).__name__} does not tell the "
            "size of the training data: set SOLVER.EPOCHS 0.0 and SOLVER.MAX_ITER instead"
        )
    frames_per_iteration = cfg.SOLVER.IMS_PER_BATCH * data_loader.frames_per_sample
    iterations_per_epoch = frames_per_epoch / frames_per_iteration
    *step_iterations, max_iter = (round(epoch * iterations_per_epoch) for epoch in (*steps, epochs))
    if not _ascends([0, *step_iterations, max_iter]):
        raise ConfigError(
            f"SOLVER.EPOCHS {epochs:g} with EPOCH_STEPS {steps} is too fine for "
            f"{frames_per_epoch} frames, {frames_per_iteration} per iteration: an epoch has only "
            f"{iterations_per_epoch:.3g} iterations. Lower SOLVER.IMS_PER_BATCH, or set "
            "SOLVER.EPOCHS 0.0 and SOLVER.MAX_ITER"
        )
    cfg = cfg.clone()
    cfg.defrost()
    cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS = max_iter, tuple(step_iterations)
    cfg.freeze()
    logger.info(
        "SOLVER.EPOCHS %g: %d frames per epoch and %d per iteration give SOLVER.MAX_ITER %d and "
        "SOLVER.STEPS %s.",
        epochs,
        frames_per_epoch,
        frames_per_iteration,
        max_iter,
        cfg.SOLVER.STEPS,
    )
    if comm.is_main_process() and cfg.OUTPUT_DIR:
        PathManager.mkdirs(cfg.OUTPUT_DIR)
        with PathManager.open(os.path.join(cfg.OUTPUT_DIR, "config.yaml"), "w") as file:
            file.write(cfg.dump())
    return cfg


def _ascends(values: Sequence[float]) -> bool:
    return all(a < b for a, b in itertools.pairwise(values))
