"""Steps in full and mixed precision stop before harm is done."""

import pytest
import torch
from detectron2.utils.events import EventStorage
from torch import nn

from mobileinst_d2.engine import train_step
from mobileinst_d2.engine.train_step import CheckedAMPTrainer, CheckedTrainer, build_train_step


class Net(nn.Module):
    """One weight; the batch is the factor of its loss."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))

    def forward(self, factor):
        return {"loss_a": self.weight.sum() * factor, "loss_b": self.weight.sum()}


def make_step(kind, batches, **kwargs):
    model = Net()
    return kind(model, batches, torch.optim.SGD(model.parameters(), lr=0.1), **kwargs)


def take_steps(step, count):
    with EventStorage():
        for _ in range(count):
            step.run_step()
    return step.model.weight.item()


@pytest.fixture
def amp_on_cpu(monkeypatch):
    """Detectron2 asks for CUDA; the scaler itself works anywhere."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    return torch.amp.GradScaler("cpu", init_scale=4.0)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_non_finite_loss_in_mixed_precision(amp_on_cpu, factor):
    step = make_step(CheckedAMPTrainer, [factor], grad_scaler=amp_on_cpu)
    with pytest.raises(FloatingPointError, match=f"loss_a={factor}"):
        take_steps(step, 1)
    assert step.model.weight.item() == 1


def overflow(step, times):
    """Make the next gradients overflow, as they do in half precision."""
    left = [times]

    def spoil(gradient):
        left[0] -= 1
        return gradient * float("inf") if left[0] >= 0 else gradient

    step.model.weight.register_hook(spoil)


def test_an_overflow_in_mixed_precision_costs_one_step(amp_on_cpu):
    step = make_step(CheckedAMPTrainer, [1.0] * 2, grad_scaler=amp_on_cpu)
    overflow(step, 1)
    assert take_steps(step, 2) == pytest.approx(0.8)
    assert amp_on_cpu.get_scale() == 2.0


def test_endless_overflow_in_mixed_precision_stops(amp_on_cpu):
    step = make_step(CheckedAMPTrainer, [1.0] * 99, grad_scaler=amp_on_cpu)
    overflow(step, 99)
    with pytest.raises(FloatingPointError, match="gradient of weight"):
        take_steps(step, 99)
    assert step.model.weight.item() == 1


def test_mixed_precision_without_cuda_falls_back(caplog):
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    step = build_train_step(model, [1.0], optimizer, amp=True)
    assert type(step) is CheckedTrainer
    assert "SOLVER.AMP.ENABLED needs a CUDA device" in caplog.text
    assert take_steps(step, 1) == pytest.approx(0.8)


def test_a_fault_in_another_process_stops_this_one(monkeypatch):
    def report_fault(flag, op):
        flag.fill_(0)

    monkeypatch.setattr(torch.distributed, "all_reduce", report_fault)
    monkeypatch.setattr(train_step.comm, "get_world_size", lambda: 2)
    monkeypatch.setattr(train_step.comm, "all_gather", lambda faults: [faults, ["loss_b=nan"]])
    step = make_step(CheckedTrainer, [1.0])
    with pytest.raises(FloatingPointError, match="not finite: loss_b=nan"):
        take_steps(step, 1)
    assert step.model.weight.item() == 1
