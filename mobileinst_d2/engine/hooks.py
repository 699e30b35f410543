"""Hooks of the training loop."""

import logging

import torch
from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng
from torch.nn.parallel import DistributedDataParallel

from mobileinst_d2.checkpoint import folded_norms, refit_norms
from mobileinst_d2.data.stream import derive_seed

__all__ = ["RefitFoldedNorms", "StepSeed"]

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

    def __init__(self, num_samples: int = 64) -> None:
        """Set up.

        Args:
            num_samples: images, or clips, to take the statistics over.
        """
        self.num_samples = num_samples

    def before_train(self) -> None:
        """Refit the batch norms at the beginning of a training; a resumed one has been so."""
        model = self.trainer.model
        if isinstance(model, DistributedDataParallel):
            model = model.module
        layers = folded_norms(model)
        if self.trainer.start_iter > 0 or not layers:
            return
        logger.info(
            "%d batch norms have their statistics folded into the convolutions: taking them anew "
            "over %d training samples.",
            len(layers),
            self.num_samples,
        )

        @torch.no_grad()
        def run() -> None:
            seen = 0
            for batch in self.trainer.data_loader:
                model(batch)
                seen += len(batch) * comm.get_world_size()
                if seen >= self.num_samples:
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


def _add_over_processes(total: torch.Tensor) -> None:
    torch.distributed.all_reduce(total)
