"""The best checkpoint of a training by a metric, and the end of a training that gets no better."""

import os

from detectron2.config import CfgNode
from detectron2.engine import HookBase, hooks
from detectron2.utils import comm
from torch import nn

from mobileinst_core.errors import ConfigError
from mobileinst_d2.checkpoint import TrainingCheckpointer, read_checkpoint
from mobileinst_d2.data.datasets.classes import dataset_class_names

from .evaluators import known_metrics

__all__ = [
    "BestCheckpointer",
    "EarlyStop",
    "WeightsCheckpointer",
    "build_best_checkpointer",
    "check_metric",
]

_PREFIX = "model_best"


def build_best_checkpointer(cfg: CfgNode, model: nn.Module) -> list[HookBase]:
    """The hook that TEST.BEST_METRIC and TEST.EARLY_STOPPING ask for, if they do.

    Raises:
        ConfigError: if a training is to end early, and nothing says when.
    """
    metric, patience = cfg.TEST.BEST_METRIC, cfg.TEST.EARLY_STOPPING
    if patience > 0:
        missing = [
            name
            for name, value in (
                ("TEST.BEST_METRIC", metric),
                ("TEST.EVAL_PERIOD", cfg.TEST.EVAL_PERIOD),
                ("DATASETS.TEST", cfg.DATASETS.TEST),
            )
            if not value
        ]
        if missing:
            raise ConfigError(
                f"TEST.EARLY_STOPPING is {patience}, but there is nothing to stop by: set "
                f"{', '.join(missing)}, or TEST.EARLY_STOPPING 0"
            )
    if not metric or not cfg.DATASETS.TEST:
        return []
    writer = WeightsCheckpointer(model, cfg.OUTPUT_DIR)
    return [BestCheckpointer(cfg.TEST.EVAL_PERIOD, writer, metric, patience=patience)]


def check_metric(cfg: CfgNode) -> None:
    """Make sure that TEST.BEST_METRIC is among the `known_metrics`.

    Raises:
        ConfigError: if it is not, or see there.
    """
    metric, known = cfg.TEST.BEST_METRIC, dict(known_metrics(cfg))
    names = [start + name for start, metrics in known.items() for name in metrics]
    # A class whose name occurs twice has its ID behind it.
    classes = [x for dataset in cfg.DATASETS.TEST for x in dataset_class_names(dataset)]
    of_class = tuple(f"{start}AP-{name}" for start in known for name in classes)
    if metric and names and metric not in names and not metric.startswith(of_class):
        raise ConfigError(
            f"TEST.BEST_METRIC {metric!r} is none of the metrics of DATASETS.TEST, which are "
            f"{', '.join(names)}, and AP-<class> of each class"
        )


class EarlyStop(BaseException):
    """Ends the loop of a training; no error, so that Detectron2's loop does not log it as one.

    Attributes:
        iteration: the last one that was trained.
    """

    def __init__(self, iteration: int) -> None:
        super().__init__(iteration)
        self.iteration = iteration


class WeightsCheckpointer(TrainingCheckpointer):
    """Writes weights alone, a third of a checkpoint; nothing can be resumed from them."""

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Leave ``last_checkpoint`` as it is."""


class BestCheckpointer(hooks.BestCheckpointer):
    """Detectron2's, which also knows the best of a resumed training, and can end a training.

    ``model_best.pth`` has weights only, with the iteration and the value of the metric.
    """

    def __init__(
        self,
        eval_period: int,
        checkpointer: WeightsCheckpointer,
        val_metric: str,
        *,
        patience: int = 0,
    ) -> None:
        """Set up.

        Args:
            eval_period: iterations between evaluations; 0 = only one, at the end.
            checkpointer: writes ``model_best.pth``.
            val_metric: name of the metric, such as "segm/AP"; more is better.
            patience: evaluations in a row without a new best after which the training ends, if
                that is not 0; 0 = never.
        """
        super().__init__(eval_period, checkpointer, val_metric)
        self._patience = patience

    def before_train(self) -> None:
        """Take over the best of a training that is resumed.

        Raises:
            EarlyStop: if that training has ended early.
        """
        start = self.trainer.start_iter
        path = os.path.join(self._checkpointer.save_dir, f"{_PREFIX}.pth")
        if start > 0 and comm.is_main_process() and os.path.isfile(path):
            content = read_checkpoint(path)
            # A later one belongs to iterations that are repeated now.
            if content.get("metric_name") == self._val_metric and content["iteration"] < start:
                self.best_metric, self.best_iter = content["metric"], content["iteration"]
        self._stop_if_no_better(start - 1)

    def _best_checking(self) -> None:
        if comm.is_main_process():
            value, iteration = self.trainer.storage.latest().get(self._val_metric, (None, -1))
            if iteration != self.trainer.storage.iter:
                self._logger.warning(
                    "TEST.BEST_METRIC %r is not among the metrics of the evaluation: %s. The "
                    "training goes on; with another name, --resume keeps the best from there on.",
                    self._val_metric,
                    ", ".join(
                        name
                        for name, (_, last) in self.trainer.storage.latest().items()
                        if last == self.trainer.storage.iter and "/" in name
                    ),
                )
            elif self._is_better(value):
                # The last evaluation counts one more, and a longer training would forget it.
                iteration = min(iteration, self.trainer.max_iter - 1)
                if self._update_best(value, iteration):
                    state = {"metric_name": self._val_metric, "metric": value}
                    self._checkpointer.save(_PREFIX, iteration=iteration, **state)
                    self._logger.info("New best %s: %.3f.", self._val_metric, value)
            else:
                self._logger.info(
                    "%s is %.3f; the best was %.3f, at iteration %d.",
                    self._val_metric,
                    value,
                    self.best_metric,
                    self.best_iter,
                )

    def _is_better(self, value: float) -> bool:
        """Of evaluations that found nothing, the last counts: its weights have learned longest."""
        best = self.best_metric
        return best is None or value == best == 0 or self._compare(value, best)

    def after_step(self) -> None:
        """Look at the evaluation that was made after this step, if any."""
        super().after_step()
        iteration = self.trainer.iter
        if self._period > 0 and (iteration + 1) % self._period == 0:
            self._stop_if_no_better(iteration)

    def after_train(self) -> None:
        """Look at the last evaluation, and name the best one."""
        super().after_train()
        if self.best_metric is not None and comm.is_main_process():
            self._logger.info(
                "Best %s: %.3f, at iteration %d, in %s.pth.",
                self._val_metric,
                self.best_metric,
                self.best_iter,
                _PREFIX,
            )
            if self.best_metric == 0:
                self._logger.warning(
                    "No evaluation found anything: the validation set is too small or too "
                    "different, or the training too short. %s.pth is from the last of them.",
                    _PREFIX,
                )

    def _stop_if_no_better(self, iteration: int) -> None:
        if self._patience <= 0 or self._period <= 0:
            return
        waited = 0
        # Before anything is found there is nothing to compare with.
        if self.best_metric:
            waited = (iteration - self.best_iter) // self._period
        # The first process knows the metrics.
        if comm.all_gather(waited)[0] >= self._patience:
            raise EarlyStop(iteration)
