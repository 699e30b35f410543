"""Targets, predictions and processes for the tests of criteria."""

from collections.abc import Callable, Sequence

import torch

from mobileinst_d2.modeling.criterion import set_criterion
from mobileinst_d2.modeling.targets import FrameTargets

QUERIES, CLASSES, SIZE = 5, 3, (6, 8)


class FixedMatcher(torch.nn.Module):
    """Stands for the Hungarian matcher: always the same assignment."""

    def __init__(self, *matches: tuple[list[int], list[int]]) -> None:
        super().__init__()
        self.matches = [tuple(torch.tensor(x, dtype=torch.int64) for x in m) for m in matches]

    def forward(self, class_logits, mask_logits, targets):
        return self.matches[: len(targets)]


def make_targets(*counts: int) -> list[FrameTargets]:
    return [
        FrameTargets(
            torch.randint(CLASSES, (count,)),
            (torch.rand(count, *SIZE) > 0.5).float(),
            torch.arange(count),
        )
        for count in counts
    ]


def make_outputs(batch: int) -> dict[str, torch.Tensor]:
    shapes = {
        "class_logits": (batch, QUERIES, CLASSES),
        "objectness_logits": (batch, QUERIES),
        "mask_logits": (batch, QUERIES, *SIZE),
    }
    return {name: torch.randn(shape, requires_grad=True) for name, shape in shapes.items()}


def average_over_processes(
    monkeypatch, processes: Sequence[Callable[[], dict[str, torch.Tensor]]]
) -> dict[str, torch.Tensor]:
    """Mean of the losses of functions that run as if each were one process of a job."""
    reduced = [[] for _ in processes]
    with monkeypatch.context() as patch:
        patch.setattr(set_criterion.comm, "get_world_size", lambda: len(processes))
        for calls, process in zip(reduced, processes, strict=True):
            patch.setattr(torch.distributed, "all_reduce", lambda x, c=calls: c.append(x.clone()))
            process()
        results = []
        for process in processes:
            sums = iter([sum(values) for values in zip(*reduced, strict=True)])
            patch.setattr(torch.distributed, "all_reduce", lambda x, s=sums: x.copy_(next(s)))
            results.append(process())
    return {name: sum(r[name] for r in results) / len(results) for name in results[0]}
