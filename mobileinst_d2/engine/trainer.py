"""The trainer: Detectron2's `DefaultTrainer` with this project's data, optimizer and evaluators."""

import functools
import logging
import os
import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase
from detectron2.engine.defaults import create_ddp_model
from detectron2.engine.hooks import EvalHook, PeriodicWriter
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.events import EventWriter, JSONWriter
from detectron2.utils.logger import setup_logger
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import LRScheduler

from mobileinst_d2.checkpoint import (
    CheckpointError,
    TrainingCheckpointer,
    adapt_class_layers,
    start_network,
)
from mobileinst_d2.data.build import build_test_loader, build_train_loader
from mobileinst_d2.data.checks import check_num_classes, check_own_records, check_test_data
from mobileinst_d2.data.datasets import drop_records
from mobileinst_d2.export import ExportedModel
from mobileinst_d2.utils.classes import save_class_names

from .best_checkpoint import EarlyStop, build_best_checkpointer, check_metric
from .compilation import compile_network
from .evaluators import build_evaluator, build_predictor, evaluation_context, folder_of_results
from .hooks import (
    RefitFoldedNorms,
    RepeatEvaluation,
    SaveBeforeEvaluation,
    StepSeed,
    build_draw_samples,
)
from .optimizer import build_optimizer
from .schedule import build_schedule, check_numbers, resolve_epochs
from .setup import unbuildable
from .train_step import build_train_step
from .writers import build_writers, write_null_for_nan

__all__ = ["Trainer"]

logger = logging.getLogger(__name__)

# What predicts a test batch.
Model = nn.Module | ExportedModel


class Trainer(DefaultTrainer):
    """Trains and evaluates any meta-architecture of this project.

    A training that was interrupted and resumed takes the same course as one that was not: weights,
    optimizer, loss scale, schedule and iteration come from the checkpoint, and data and random
    numbers are functions of seed and iteration.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Build all parts of a training, for the full config."""
        # DefaultTrainer's parts, as its constructor can be told of no other step or checkpointer.
        TrainerBase.__init__(self)
        if not logging.getLogger("detectron2").isEnabledFor(logging.INFO):
            setup_logger()
        check_numbers(cfg)
        cfg = self.auto_scale_workers(cfg, comm.get_world_size())
        check_test_data(cfg)
        # On a CPU a step takes a fifth to a third less time in this order of the memory.
        model = self.build_model(cfg).to(memory_format=torch.channels_last)
        for name in cfg.DATASETS.TEST:
            self.build_predictor(cfg, model, name)  # its errors are to come before the training
        ours = (Trainer.build_evaluator.__func__, Trainer.test.__func__)
        if (self.build_evaluator.__func__, self.test.__func__) == ours:
            check_metric(cfg)  # what others give, and ask for, is not known before
            check_own_records(cfg)
        if cfg.MODEL.COMPILE:
            compile_network(model)
        optimizer = self.build_optimizer(cfg, model)
        data_loader = self.build_train_loader(cfg)
        cfg = resolve_epochs(cfg, data_loader)
        # Its default is one GPU per process, which DistributedDataParallel refuses on the CPU.
        devices = {} if next(model.parameters()).is_cuda else {"device_ids": None}
        model = create_ddp_model(model, broadcast_buffers=False, **devices)
        self._trainer = build_train_step(
            model,
            data_loader,
            optimizer,
            amp=cfg.SOLVER.AMP.ENABLED,
            batch_size=cfg.SOLVER.IMS_PER_BATCH // comm.get_world_size(),
            accumulation_steps=cfg.SOLVER.ACCUMULATION_STEPS,
        )
        self.scheduler = self.build_lr_scheduler(cfg, optimizer)
        self.checkpointer = TrainingCheckpointer(
            model,
            cfg.OUTPUT_DIR,
            adapt=functools.partial(adapt_class_layers, cfg),
            start=functools.partial(start_network, cfg),
            trainer=weakref.proxy(self),
        )
        self.seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.cfg = cfg
        self.register_hooks(self.build_hooks())
        if cfg.MODEL.WARM_START_CLASSES and not cfg.MODEL.WEIGHTS:
            logger.warning("MODEL.WARM_START_CLASSES has no effect, as MODEL.WEIGHTS is empty.")
        if cfg.MODEL.BACKBONE.WEIGHTS and cfg.MODEL.WEIGHTS:
            logger.info(
                "MODEL.BACKBONE.WEIGHTS (%s) is not used: the whole model comes from %s.",
                cfg.MODEL.BACKBONE.WEIGHTS,
                cfg.MODEL.WEIGHTS,
            )

    def build_hooks(self) -> list[HookBase]:
        """Detectron2's hooks and our own, see `mobileinst_d2.engine.hooks`.

        Raises:
            ConfigError: if an option asks for what the training has not.
        """
        hooks, period = [StepSeed(), RefitFoldedNorms()], self.cfg.TEST.EVAL_PERIOD
        for hook in super().build_hooks():
            if isinstance(hook, PeriodicWriter):
                # Writers take the latest of each number: no evaluation may come in between.
                hook._period = min(hook._period, period or hook._period)
                hooks += build_draw_samples(self.cfg, self.model)
            if not isinstance(hook, EvalHook):
                hooks.append(hook)
                continue
            hooks.append(SaveBeforeEvaluation(period, self.cfg.SOLVER.CHECKPOINT_PERIOD))
            evaluation = [self._eval_hook(), *build_best_checkpointer(self.cfg, self.model)]
            hooks += evaluation
        if self.cfg.DATASETS.TEST:
            hooks.append(RepeatEvaluation(evaluation, period, self.cfg.OUTPUT_DIR))
        return hooks

    def _eval_hook(self) -> EvalHook:
        """Evaluations; those on the way have folders of their own, the last is in "inference"."""

        def evaluate() -> OrderedDict:
            folder = os.path.join(self.cfg.OUTPUT_DIR, "inference")
            done = self.iter + 1
            if done < self.max_iter:
                folder = os.path.join(folder, f"iteration_{done:07d}")
            evaluators = [
                self.build_evaluator(self.cfg, name, folder_of_results(self.cfg, folder, name))
                for name in self.cfg.DATASETS.TEST
            ]
            self._last_eval_results = self.test(self.cfg, self.model, evaluators)
            return self._last_eval_results

        return EvalHook(self.cfg.TEST.EVAL_PERIOD, evaluate)

    def build_writers(self) -> list[EventWriter]:
        """Detectron2's writers and those of `build_writers`, which come first."""
        # TensorBoard's clears what it has written.
        return [
            *build_writers(self.cfg),
            *(
                write_null_for_nan(writer) if isinstance(writer, JSONWriter) else writer
                for writer in super().build_writers()
            ),
        ]

    def resume_or_load(self, resume: bool = True) -> None:
        """Resume from the last checkpoint in OUTPUT_DIR, or load MODEL.WEIGHTS.

        Args:
            resume: whether to look for a checkpoint; without, one that is there is warned of.
        """
        if not resume and self.checkpointer.has_checkpoint():
            logger.warning(
                "%s holds a training already, up to %s: its checkpoints and results are replaced, "
                "its metrics and logs continued. --resume continues it; another OUTPUT_DIR "
                "keeps it.",
                self.cfg.OUTPUT_DIR,
                os.path.basename(self.checkpointer.get_checkpoint_file()),
            )
        super().resume_or_load(resume)

    def train(self) -> OrderedDict | None:
        """Run the training from `start_iter` on.

        Returns:
            The results of the last evaluation if TEST.EXPECTED_RESULTS asks to check them.
        """
        if 0 < self.max_iter <= self.start_iter:
            logger.info(
                "There is nothing to do: the training in %s has done %d iterations of %d. A larger "
                "SOLVER.MAX_ITER or SOLVER.EPOCHS continues it, --eval-only evaluates it.",
                self.cfg.OUTPUT_DIR,
                self.start_iter,
                self.max_iter,
            )
            return None
        if comm.is_main_process() and self.cfg.DATASETS.TRAIN:
            # So that the demo knows the classes without the data. Not before the weights are
            # loaded, which may lie in the same folder, with the names of other classes.
            metadata = MetadataCatalog.get(self.cfg.DATASETS.TRAIN[0])
            ids = metadata.get("thing_dataset_id_to_contiguous_id", {})
            save_class_names(self.cfg.OUTPUT_DIR, metadata.thing_classes, sorted(ids, key=ids.get))
        if hasattr(self.data_loader, "start_at"):
            self.data_loader.start_at(self.start_iter, self.seed)
        elif self.start_iter > 0:
            logger.warning(
                "%s cannot start at iteration %d: the order of the data starts from the beginning.",
                type(self.data_loader).__name__,
                self.start_iter,
            )
        try:
            return super().train()
        except EarlyStop as stop:
            logger.info(
                "The training ends at iteration %d of %d: %d evaluations without a new best %s.",
                stop.iteration,
                self.max_iter,
                self.cfg.TEST.EARLY_STOPPING,
                self.cfg.TEST.BEST_METRIC,
            )
            if stop.iteration >= self.start_iter:
                self.checkpointer.save("model_final", iteration=stop.iteration)
            return None

    def after_train(self) -> None:
        """Close the hooks; after a failure in the last iteration without its evaluation."""
        if self.iter < self.max_iter:
            self._hooks = [hook for hook in self._hooks if not isinstance(hook, EvalHook)]
        super().after_train()

    def state_dict(self) -> dict[str, Any]:
        """Iteration, hooks, seed, and under "_trainer" optimizer and loss scale.

        Detectron2's release 0.6 leaves "_trainer" out; its later source has it under this name.
        """
        step = self._trainer.state_dict()
        return {**TrainerBase.state_dict(self), "_trainer": step, "seed": self.seed}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take over a state, also one of Detectron2's own trainers, which may hold less.

        Raises:
            CheckpointError: if the optimizer's state does not fit the model.
        """
        TrainerBase.load_state_dict(self, state_dict)
        self.seed = state_dict.get("seed", self.seed)
        state = state_dict.get("_trainer", {})
        try:
            for name in ("optimizer", "grad_scaler"):
                part = getattr(self._trainer, name, None)
                if part is not None and state.get(name):
                    part.load_state_dict(state[name])
                elif part is not None:
                    logger.warning("The checkpoint has no state of the %s: it starts fresh.", name)
            if len(self.scheduler.base_lrs) != len(self.optimizer.param_groups):
                raise ValueError("the number of parameter groups has changed")
        except (ValueError, RuntimeError, KeyError) as error:
            raise CheckpointError(
                f"The state of the optimizer does not fit this training: {error}. Resume with the "
                "config that the training began with, or load the file as MODEL.WEIGHTS."
            ) from error

    @classmethod
    def build_model(cls, cfg: CfgNode) -> nn.Module:
        """Build the network on MODEL.DEVICE, after a check of its number of classes.

        Raises:
            ConfigError: if an option has a value that the network refuses, or the number of classes
                is not that of the data.
        """
        check_num_classes(cfg)
        try:
            model = super().build_model(cfg)
        except (KeyError, ValueError) as error:
            raise unbuildable(error) from error
        logger.info("%s runs on %s.", type(model).__name__, cfg.MODEL.DEVICE)
        return model

    @classmethod
    def load_model(
        cls,
        cfg: CfgNode,
        *,
        resume: bool = False,
        folder: str | Path | None = None,
        runtime: str | None = None,
    ) -> Model:
        """Load what is to be evaluated: a network, or an exported model.

        Args:
            cfg: the config; reads MODEL.WEIGHTS.
            resume: take the last checkpoint in OUTPUT_DIR, if there is one.
            folder: of an exported model, which then takes the place of the network.
            runtime: what to run that with; None = what it was exported for.

        Returns:
            The network, in evaluation mode, or the exported model.

        Raises:
            CheckpointError: if the weights are damaged or belong to another network.
            ConfigError: see `build_model`.
            ExportError: if the folder cannot be used, or the runtime is not installed.
        """
        check_num_classes(cfg)
        drop_records(cfg.DATASETS.TRAIN)  # they were read for the classes, and are not needed
        if folder is not None:
            return ExportedModel(cfg, folder, runtime=runtime)
        model = cls.build_model(cfg)
        checkpointer = TrainingCheckpointer(model, cfg.OUTPUT_DIR, to_predict=True)
        if not cfg.MODEL.WEIGHTS and not (resume and checkpointer.has_checkpoint()):
            logger.warning("MODEL.WEIGHTS is empty: evaluating a network with random weights.")
        checkpointer.resume_or_load(cfg.MODEL.WEIGHTS, resume=resume)
        return model.eval()

    @classmethod
    def build_optimizer(cls, cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
        """Build the optimizer that SOLVER describes."""
        return build_optimizer(cfg, model)

    @classmethod
    def build_lr_scheduler(cls, cfg: CfgNode, optimizer: torch.optim.Optimizer) -> LRScheduler:
        """Build the schedule of the learning rate that SOLVER describes."""
        return build_schedule(cfg, optimizer)

    @classmethod
    def build_train_loader(cls, cfg: CfgNode) -> Iterable[list[dict]]:
        """Build the loader of DATASETS.TRAIN."""
        return build_train_loader(cfg)

    @classmethod
    def build_test_loader(cls, cfg: CfgNode, dataset_name: str) -> Iterable[list[dict]]:
        """Build the loader of one data set of DATASETS.TEST."""
        return build_test_loader(cfg, dataset_name)

    @classmethod
    def build_evaluator(
        cls, cfg: CfgNode, dataset_name: str, output_folder: str | None = None
    ) -> DatasetEvaluator:
        """Build the evaluator of a data set, see `mobileinst_d2.engine.evaluators`."""
        return build_evaluator(cfg, dataset_name, output_folder)

    @classmethod
    def build_predictor(
        cls, cfg: CfgNode, model: Model, dataset_name: str
    ) -> Callable[[list[dict]], list[dict]]:
        """What maps a test batch to results, see `mobileinst_d2.engine.evaluators`."""
        return build_predictor(cfg, model, dataset_name)

    @classmethod
    def test(
        cls,
        cfg: CfgNode,
        model: Model,
        evaluators: DatasetEvaluator | Sequence[DatasetEvaluator] | None = None,
    ) -> OrderedDict:
        """Evaluate on each data set of DATASETS.TEST.

        Args:
            cfg: the config.
            model: the network with the weights to evaluate, or an exported model.
            evaluators: one per data set; by default those of `build_evaluator`.

        Returns:
            Metrics by task and name; by data set first if there are several.

        Raises:
            ValueError: if the numbers of evaluators and data sets differ.
        """
        if isinstance(evaluators, DatasetEvaluator):
            evaluators = [evaluators]
        names = list(cfg.DATASETS.TEST)
        if evaluators is not None and len(evaluators) != len(names):
            raise ValueError(f"{len(evaluators)} evaluators for {len(names)} data sets: {names}.")
        if isinstance(model, DistributedDataParallel):
            model = model.module
            # Batch norms have other statistics in each process; the first's are in checkpoints.
            for buffer in model.buffers():
                torch.distributed.broadcast(buffer, 0)
        results = OrderedDict()
        for position, name in enumerate(names):
            one = cfg.clone()
            one.defrost()
            one.DATASETS.TEST = (name,)
            evaluator = evaluators[position] if evaluators else cls.build_evaluator(cfg, name)
            with evaluation_context(model, evaluator):
                predictor = cls.build_predictor(cfg, model, name)
                results[name] = super().test(one, predictor, [evaluator])
        return next(iter(results.values())) if len(results) == 1 else results
