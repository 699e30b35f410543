"""One optimisation step: Detectron2's, which here stops before non-finite values do harm."""

import logging
import math
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from detectron2.engine import AMPTrainer, SimpleTrainer
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import get_total_norm

from mobileinst_core.errors import ConfigError, NotFiniteError
from mobileinst_d2.modeling import InstanceSegmentor

__all__ = ["CheckedAMPTrainer", "CheckedTrainer", "build_train_step", "unwrapped"]

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

        Raises:
            NotFiniteError: names the iteration and the losses or the parameters.
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
        raise NotFiniteError(
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


class _Accumulation:
    """Runs a batch in parts, one after the other, and updates the weights with their sum.

    Losses and gradients are those of the whole batch where no batch norm sees the parts and all
    parts are padded to one size. Queries passed by "identity" from a frame of more objects than
    queries are the exception.
    """

    # Parts of each batch.
    num_parts = 1

    def run_step(self) -> None:
        """Run one iteration."""
        if self.num_parts == 1:
            super().run_step()
            return
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        parts = split_batch(batch, self.num_parts)
        self.optimizer.zero_grad()
        losses: dict[str, torch.Tensor] = {}
        for number, part in enumerate(parts):
            is_last = number == len(parts) - 1
            wait = isinstance(self.model, DistributedDataParallel) and not is_last
            # The processes exchange their gradients once.
            with self.model.no_sync() if wait else nullcontext():
                with self.precision():
                    found = self.model(part)
                    shares = self._shares(list(found), parts, number)
                    found = {name: found[name] * share for name, share in shares.items()}
                self.backward(sum(found.values()))
            for name, loss in found.items():
                losses[name] = losses.get(name, 0) + loss.detach()
        self._write_metrics(losses, data_time)
        self.update()

    def _shares(
        self, names: Sequence[str], parts: Sequence[list[dict]], number: int
    ) -> dict[str, float]:
        """Share of a part in each loss of the whole batch, which is a mean over its objects."""
        model = unwrapped(self.model)
        if isinstance(model, InstanceSegmentor):
            rows = [[model.loss_normalizer(name, part) for part in parts] for name in names]
        else:  # Detectron2's own detectors
            rows = [[len(part) for part in parts] for _ in names]
        counts = torch.tensor(rows, dtype=torch.float32)
        if comm.get_world_size() > 1:
            counts = counts.to(next(model.parameters()).device)
            torch.distributed.all_reduce(counts)
        shares = counts.clamp(min=1) / counts.sum(1, keepdim=True).clamp(min=1)
        return dict(zip(names, shares[:, number].tolist(), strict=True))

    def precision(self) -> AbstractContextManager:
        """In which the network runs."""
        return nullcontext()

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss."""
        loss.backward()

    def update(self) -> None:
        """Update the weights."""
        self.optimizer.step()


def unwrapped(model: nn.Module) -> nn.Module:
    """The network itself, where it is wrapped for several processes."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def split_batch(batch: list[dict], num_parts: int) -> list[list[dict]]:
    """Split a batch into parts whose sizes differ by one at most, the larger ones first."""
    size, larger = divmod(len(batch), num_parts)
    ends = [(i + 1) * size + min(i + 1, larger) for i in range(num_parts)]
    return [batch[start:end] for start, end in zip([0, *ends], ends, strict=False)]


class CheckedTrainer(_FiniteCheck, _Accumulation, SimpleTrainer):
    """`SimpleTrainer` that stops before a non-finite value reaches the weights."""


class CheckedAMPTrainer(_FiniteCheck, _Accumulation, AMPTrainer):
    """`AMPTrainer` that stops before a non-finite loss reaches the weights.

    Gradients may overflow now and then in half precision: the scaler leaves such a step out and
    halves its scale. Only a scale that has fallen to nothing is an error.
    """

    def checked_parameters(self) -> Iterable[nn.Parameter]:
        """None while the scaler can still help itself."""
        scale = self.grad_scaler.get_scale()
        return [] if scale >= MIN_LOSS_SCALE else self.model.parameters()

    def precision(self) -> AbstractContextManager:
        """Mixed precision."""
        return torch.autocast("cuda")

    def backward(self, loss: torch.Tensor) -> None:
        """Add the gradients of a loss, scaled."""
        self.grad_scaler.scale(loss).backward()

    def update(self) -> None:
        """Update the weights, unless a gradient has overflowed."""
        self.grad_scaler.step(self.optimizer)
        self.grad_scaler.update()


def build_train_step(
    model: nn.Module,
    data_loader: Iterable,
    optimizer: torch.optim.Optimizer,
    *,
    amp: bool,
    batch_size: int = 0,
    accumulation_steps: int = 1,
) -> SimpleTrainer:
    """Make the object that runs one step.

    Args:
        model: the network, wrapped for distributed training if there are several processes.
        data_loader: endless iterable of batches.
        optimizer: optimizer of the model's parameters.
        amp: use mixed precision. It needs CUDA; on another device a warning is logged and
            the training runs in full precision.
        batch_size: samples per batch of this process.
        accumulation_steps: parts that a batch is run in, see `_Accumulation`.

    Returns:
        The step, with `run_step`, `state_dict` and `load_state_dict`.

    Raises:
        ConfigError: if a batch has fewer samples than parts.
    """
    device = next(model.parameters()).device
    if amp and device.type != "cuda":
        logger.warning(
            "SOLVER.AMP.ENABLED needs a CUDA device; on %s the training runs in full precision.",
            device,
        )
        amp = False
    step = (CheckedAMPTrainer if amp else CheckedTrainer)(model, data_loader, optimizer)
    if accumulation_steps != 1:
        _announce_accumulation(model, batch_size, accumulation_steps)
    step.num_parts = accumulation_steps
    return step


def _announce_accumulation(model: nn.Module, batch_size: int, num_parts: int) -> None:
    if not 1 <= num_parts <= batch_size:
        raise ConfigError(
            f"SOLVER.ACCUMULATION_STEPS is {num_parts}: choose 1 to {batch_size}, the samples of "
            "SOLVER.IMS_PER_BATCH in one process"
        )
    sizes = sorted({len(part) for part in split_batch([{}] * batch_size, num_parts)})
    logger.info(
        "SOLVER.ACCUMULATION_STEPS %d: the %d samples of a batch run in parts of %s.",
        num_parts,
        batch_size,
        " and ".join(map(str, sizes)),
    )
    norms = (nn.modules.batchnorm._BatchNorm,)
    if any(isinstance(m, norms) and m.training for m in model.modules()):
        logger.info(
            "Batch norms take their statistics over the parts, not over the batch; "
            "MODEL.BACKBONE.NORM FrozenBN has none to take."
        )
