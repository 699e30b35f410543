"""The numbers that steer a training; those in epochs become iterations when its data are known."""

import itertools
import logging
import os
from collections.abc import Iterable, Sequence

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_lr_scheduler
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from mobileinst_core.errors import ConfigError
from mobileinst_d2.utils.config_keys import flatten

__all__ = ["build_schedule", "check_numbers", "resolve_epochs"]

logger = logging.getLogger(__name__)

_POSITIVE = ("SOLVER.MAX_ITER", "SOLVER.CHECKPOINT_PERIOD")
_NOT_NEGATIVE = (
    *("SOLVER.BASE_LR", "SOLVER.BIAS_LR_FACTOR", "SOLVER.BACKBONE_MULTIPLIER", "SOLVER.GAMMA"),
    *("SOLVER.MOMENTUM", "SOLVER.WEIGHT_DECAY", "SOLVER.WEIGHT_DECAY_NORM"),
    *("SOLVER.WEIGHT_DECAY_BIAS", "SOLVER.WEIGHT_DECAY_EMBED"),
    *("SOLVER.WARMUP_ITERS", "SOLVER.WARMUP_FACTOR", "SOLVER.REFERENCE_WORLD_SIZE"),
    *("TEST.EVAL_PERIOD", "TEST.EARLY_STOPPING", "VIS_PERIOD", "DATALOADER.NUM_WORKERS"),
)


def check_numbers(cfg: CfgNode) -> None:
    """Make sure that a training can be steered by the numbers of the config.

    PyTorch and Detectron2 take most of them as they are: a negative factor lets weights climb, and
    unordered steps are passed by.

    Raises:
        ConfigError: names the key and what to choose.
    """
    values, solver = flatten(cfg), cfg.SOLVER
    positive = list(_POSITIVE)
    if solver.CLIP_GRADIENTS.ENABLED:
        positive.append("SOLVER.CLIP_GRADIENTS.CLIP_VALUE")
    for keys, is_wrong, choice in (
        (positive, lambda value: value <= 0, "choose a number above 0"),
        (_NOT_NEGATIVE, lambda value: value is not None and value < 0, "choose 0 or more"),
    ):
        for key in keys:
            if is_wrong(values[key]):
                raise ConfigError(f"{key} is {values[key]}: {choice}")
    if not _ascends([0, *solver.STEPS]):
        raise ConfigError(
            f"SOLVER.STEPS is {tuple(solver.STEPS)}: the iterations must ascend, above 0"
        )
    if solver.REFERENCE_WORLD_SIZE and solver.IMS_PER_BATCH % solver.REFERENCE_WORLD_SIZE:
        raise ConfigError(
            f"SOLVER.REFERENCE_WORLD_SIZE is {solver.REFERENCE_WORLD_SIZE}: SOLVER.IMS_PER_BATCH "
            f"({solver.IMS_PER_BATCH}) must be a multiple of it"
        )


def build_schedule(
    cfg: CfgNode, optimizer: torch.optim.Optimizer
) -> torch.optim.lr_scheduler.LRScheduler:
    """Detectron2's schedule of the learning rate; ConfigError where it is unknown."""
    try:
        return build_lr_scheduler(cfg, optimizer)
    except ValueError as error:
        solver = cfg.SOLVER
        raise ConfigError(
            f"SOLVER.LR_SCHEDULER_NAME {solver.LR_SCHEDULER_NAME!r} with SOLVER.WARMUP_METHOD "
            f"{solver.WARMUP_METHOD!r} and SOLVER.STEPS {tuple(solver.STEPS)} is no schedule of "
            f"Detectron2: {error}"
        ) from error


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
