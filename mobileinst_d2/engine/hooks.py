"""Hooks of the training loop."""

import json
import logging
import os
from collections.abc import Sequence

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from mobileinst_d2.checkpoint import folded_norms, refit_norms
from mobileinst_d2.data.stream import derive_seed
from mobileinst_d2.modeling import InstanceSegmentor
from mobileinst_d2.structures import per_frame
from mobileinst_d2.visualization import draw_predictions, draw_truth

from .train_step import unwrapped

__all__ = [
    "DrawSamples",
    "RefitFoldedNorms",
    "RepeatEvaluation",
    "SaveBeforeEvaluation",
    "StepSeed",
    "build_draw_samples",
]

logger = logging.getLogger(__name__)


class StepSeed(HookBase):
    """Seeds the random generators before each step from the training's seed, iteration and rank.

    So dropout and the like do not depend on evaluations in between, nor on whether the training
    was interrupted.
    """

    def before_step(self) -> None:
        """Seed Python's, NumPy's and PyTorch's generators, those of the GPUs included."""
        seed_all_rng(derive_seed(self.trainer.seed, self.trainer.iter, comm.get_rank()))


class RefitFoldedNorms(HookBase):
    """Makes a network with folded batch norms fit for training, see `refit_norms`.

    Before the first iteration, a few batches of the training data go through the network. Nothing
    is done where no batch norm is folded.
    """

    # Images, or clips, to take the statistics over.
    NUM_SAMPLES = 64

    def before_train(self) -> None:
        """Refit the batch norms at the beginning of a training; a resumed one has been so."""
        model = unwrapped(self.trainer.model)
        layers = folded_norms(model)
        if self.trainer.start_iter > 0 or not layers:
            return
        logger.info(
            "%d batch norms have their statistics folded into the convolutions: re-estimating them "
            "over %d training samples.",
            len(layers),
            self.NUM_SAMPLES,
        )

        @torch.no_grad()
        def run() -> None:
            seen = 0
            for batch in self.trainer.data_loader:
                model(batch)
                seen += len(batch) * comm.get_world_size()
                if seen >= self.NUM_SAMPLES:
                    break

        # The inputs of the other layers are right only where no layer normalises by its batch.
        model.train()
        norms = [m for m in model.modules() if isinstance(m, torch.nn.modules.batchnorm._BatchNorm)]
        for norm in norms:
            norm.eval()
        try:
            refit_norms(layers, run, _add_over_processes if comm.get_world_size() > 1 else None)
        finally:
            model.train()


class DrawSamples(HookBase):
    """Gives TensorBoard images of a training sample: ground truth beside what the network finds.

    VIS_PERIOD is Detectron2's key. Any `InstanceSegmentor` is drawn, by its own prediction of
    single images.
    """

    # Instances below it are not drawn; a network that has just begun has hardly any above.
    MIN_SCORE = 0.3

    def __init__(self, period: int, class_names: Sequence[str], image_format: str) -> None:
        """Set up.

        Args:
            period: iterations between images.
            class_names: names by contiguous class index.
            image_format: INPUT.FORMAT.
        """
        self.period = period
        self.class_names = class_names
        self.image_format = image_format
        self._last: list[dict] = []

    def before_train(self) -> None:
        """Look over the shoulder of the network at its batches."""

        def remember(model: torch.nn.Module, inputs: tuple[list[dict]]) -> None:
            if model.training:
                self._last = inputs[0]

        self._handle = self._model.register_forward_pre_hook(remember)

    def after_train(self) -> None:
        """Look no more."""
        self._handle.remove()

    @property
    def _model(self) -> torch.nn.Module:
        return unwrapped(self.trainer.model)

    @torch.no_grad()
    def after_step(self) -> None:
        """Draw the first sample of the batch."""
        if (self.trainer.iter + 1) % self.period or not self._last:
            return
        model, sample = self._model, self._last[0]
        images, truths = per_frame(sample, "image"), per_frame(sample, "instances")
        fixed_size, model.fixed_size = model.fixed_size, None  # training sizes differ from it
        model.eval()
        try:
            outputs = model([{"image": image} for image in images])
        finally:
            model.train()
            model.fixed_size = fixed_size
        names, order = self.class_names, self.image_format
        rows = [
            np.hstack(
                (
                    draw_truth(image, truth, names, image_format=order),
                    draw_predictions(
                        image,
                        output["instances"],
                        names,
                        image_format=order,
                        min_score=self.MIN_SCORE,
                    ),
                )
            )
            for image, truth, output in zip(images, truths, outputs, strict=True)
        ]
        drawn = np.vstack(rows)[..., ::-1].transpose(2, 0, 1)  # RGB, as TensorBoard wants it
        self.trainer.storage.put_image("sample", torch.from_numpy(drawn.copy()))


def build_draw_samples(cfg: CfgNode, model: torch.nn.Module) -> list[HookBase]:
    """The hook that VIS_PERIOD asks for, if it does and the network can be drawn; one or none."""
    if cfg.VIS_PERIOD <= 0 or not isinstance(unwrapped(model), InstanceSegmentor):
        return []
    names = MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).get("thing_classes") or ()
    return [DrawSamples(cfg.VIS_PERIOD, names, cfg.INPUT.FORMAT)]


class SaveBeforeEvaluation(HookBase):
    """Writes a checkpoint before each evaluation on the way, so that none can lose what is trained.

    The file ``model_before_evaluation.pth`` is replaced each time, and removed when the training
    has ended well. Where a checkpoint is due anyway, that one serves. Goes before the evaluation
    and after the periodic checkpoints.
    """

    NAME = "model_before_evaluation"

    def __init__(self, eval_period: int, checkpoint_period: int) -> None:
        """Set up.

        Args:
            eval_period: TEST.EVAL_PERIOD; 0 = no evaluation on the way.
            checkpoint_period: SOLVER.CHECKPOINT_PERIOD.
        """
        self.eval_period = eval_period
        self.checkpoint_period = checkpoint_period

    def after_step(self) -> None:
        """Write a checkpoint if an evaluation follows."""
        done = self.trainer.iter + 1
        is_due = self.eval_period > 0 and done % self.eval_period == 0
        if is_due and done < self.trainer.max_iter and done % self.checkpoint_period:
            self.trainer.checkpointer.save(self.NAME, iteration=self.trainer.iter)

    def after_train(self) -> None:
        """Remove the file if the last checkpoint is another one."""
        if not comm.is_main_process():
            return
        checkpointer = self.trainer.checkpointer
        path = os.path.join(checkpointer.save_dir, f"{self.NAME}.pth")
        if os.path.isfile(path) and checkpointer.get_checkpoint_file() != path:
            os.remove(path)


class RepeatEvaluation(HookBase):
    """Makes up for the evaluation in which a training was interrupted, when it is resumed.

    The checkpoint is of before the evaluation, so that it tells nothing; ``metrics.json`` does.
    Goes after all other hooks, as an error then finds them set up.
    """

    def __init__(self, hooks: Sequence[HookBase], eval_period: int, output_dir: str) -> None:
        """Set up.

        Args:
            hooks: those that evaluate, and use what comes of it, after a step.
            eval_period: TEST.EVAL_PERIOD; 0 = no evaluation on the way.
            output_dir: folder of the training.
        """
        self._evaluation = hooks
        self._period = eval_period
        self._metrics_file = os.path.join(output_dir, "metrics.json")

    def before_train(self) -> None:
        """Evaluate as after the last step before the interruption, if that was not done."""
        trainer, start = self.trainer, self.trainer.start_iter
        if start == 0 or self._period <= 0 or start % self._period:
            return
        if comm.all_gather(comm.is_main_process() and self._is_evaluated(start))[0]:
            return
        logger.info("The evaluation after %d iterations was interrupted and is repeated.", start)
        trainer.iter = trainer.storage.iter = start - 1
        try:
            for hook in self._evaluation:
                hook.after_step()
        finally:
            trainer.iter = trainer.storage.iter = start

    def _is_evaluated(self, done: int) -> bool:
        if not os.path.isfile(self._metrics_file):
            return False
        with open(self._metrics_file, encoding="utf-8") as file:
            rows = [json.loads(line) for line in file if "/AP" in line]
        # What ended a shorter training has the number of the next iteration.
        return any(row["iteration"] in (done - 1, done) for row in rows)


def _add_over_processes(total: torch.Tensor) -> None:
    torch.distributed.all_reduce(total)
