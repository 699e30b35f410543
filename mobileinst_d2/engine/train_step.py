"""One optimisation step: Detectron2's, which here stops before non-finite values do harm."""

import logging
import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.utils import comm
from torch import nn
from torch.nn.utils import get_total_norm

__all__ = ["CheckedAMPTrainer", "CheckedTrainer", "build_train_step"]

logger = logging.getLogger(__name__)

# The loss scale starts at 65536 and is halved at each overflow; here it has overflowed for good.
MIN_LOSS_SCALE = 1e-4
# Losses or parameters named in the message.
MAX_FAULTS = 10


class _FiniteCheck:
    """Checks losses and gradients between the backward pass and the update of the weights.

    Detectron2 writes its metrics at that point. Its own check there looks at the sum of the
    losses, on the main process alone.
    """

    def _write_metrics(self, loss_dict: Mapping[str, torch.Tensor], *args: Any, **kw: Any) -> None:
        self.require_finite(loss_dict)
        super()._write_metrics(loss_dict, *args, **kw)

    def require_finite(self, loss_dict: Mapping[str, torch.Tensor]) -> None:
        """Stop all processes together if a loss or gradient of any of them is not finite.

        Args:
            loss_dict: scalar losses by name.

        Raises:
            FloatingPointError: names the iteration and the losses or the parameters.
        """
        losses = torch.stack([loss.detach().float() for loss in loss_dict.values()])
        values = [losses.abs().max()]
        gradients = [p.grad for p in self.checked_parameters() if p.grad is not None]
        if gradients:
            # The largest magnitude: unlike a sum of squares it cannot overflow.
            values.append(get_total_norm(gradients, norm_type=math.inf).to(losses))
        finite = torch.stack(values).isfinite().all()
        if comm.get_world_size() > 1:
            flag = finite.int()
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MIN)
            finite = flag
        if finite.item():
            return
        faults = [f"{name}={loss.item()}" for name, loss in loss_dict.items() if _is_bad(loss)]
        faults = faults or [f"gradient of {name}" for name in self._bad_gradients()]
        faults = list(dict.fromkeys(fault for part in comm.all_gather(faults) for fault in part))
        more = f" and {len(faults) - MAX_FAULTS} more" if len(faults) > MAX_FAULTS else ""
        raise FloatingPointError(
            f"Training stopped at iteration {self.iter}, not finite: "
            f"{', '.join(faults[:MAX_FAULTS])}{more}. "
            "The weights were not updated, and the last checkpoint is from before. Lower "
            "SOLVER.BASE_LR, lengthen SOLVER.WARMUP_ITERS or set SOLVER.CLIP_GRADIENTS.ENABLED."
        )

    def checked_parameters(self) -> Iterable[nn.Parameter]:
        """Parameters whose gradients must be finite."""
        return self.model.parameters()

    def _bad_gradients(self) -> list[str]:
        return [
            name.removeprefix("module.")
            for name, parameter in self.model.named_parameters()
            if parameter.grad is not None and _is_bad(parameter.grad)
        ]


def _is_bad(value: torch.Tensor) -> bool:
    return not value.isfinite().all().item()


class CheckedTrainer(_FiniteCheck, SimpleTrainer):
    """`SimpleTrainer` that stops before a non-finite value reaches the weights."""


class CheckedAMPTrainer(_FiniteCheck, AMPTrainer):
    """`AMPTrainer` that stops before a non-finite loss reaches the weights.

    Gradients may overflow now and then in half precision: the scaler leaves such a step out and
    halves its scale. Only a scale that has fallen to nothing is an error.
    """

    def checked_parameters(self) -> Iterable[nn.Parameter]:
        """None while the scaler can still help itself."""
        scale = self.grad_scaler.get_scale()
        return [] if scale >= MIN_LOSS_SCALE else self.model.parameters()


def build_train_step(
    model: nn.Module, data_loader: Iterable, optimizer: torch.optim.Optimizer, *, amp: bool
) -> SimpleTrainer:
    """Make the object that runs one step.

    Args:
        model: the network, wrapped for distributed training if there are several processes.
        data_loader: endless iterable of batches.
        optimizer: optimizer of the model's parameters.
        amp: use mixed precision. It needs CUDA; on another device a warning is logged and
            the training runs in full precision.

    Returns:
        The step, with `run_step`, `state_dict` and `load_state_dict`.
    """
    device = next(model.parameters()).device
    if amp and device.type != "cuda":
        logger.warning(
            "SOLVER.AMP.ENABLED needs a CUDA device; on %s the training runs in full precision.",
            device,
        )
        amp = False
    return (CheckedAMPTrainer if amp else CheckedTrainer)(model, data_loader, optimizer)
