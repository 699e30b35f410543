"""Hooks of the training loop."""

from detectron2.engine import HookBase
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from mobileinst_d2.data.stream import derive_seed

__all__ = ["StepSeed"]


class StepSeed(HookBase):
    """Seeds the random generators before each step from the training's seed, iteration and rank.

    So dropout and the like do not depend on evaluations in between, nor on whether the training
    was interrupted.
    """

    def before_step(self) -> None:
        """Seed Python's, NumPy's and PyTorch's generators, those of the GPUs included."""
        seed_all_rng(derive_seed(self.trainer.seed, self.trainer.iter, comm.get_rank()))
