"""Detectron2's `launch`, with processes that part in order."""

from collections.abc import Callable
from typing import Any

import torch.distributed
from detectron2.engine import launch as launch_processes
from detectron2.utils import comm

__all__ = ["launch"]


class _PartInOrder:
    """A function of one process of a job, after which the process leaves the group.

    A process that ends while the threads of its group still run is aborted now and then, and the
    job with it.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        result = self.function(*args)
        if comm.get_world_size() > 1:
            comm.synchronize()
            torch.distributed.destroy_process_group()
        return result


def launch(function: Callable[..., Any], num_gpus_per_machine: int, **options: Any) -> None:
    """Run a function in one process per GPU, or per CPU process where there is no GPU.

    Args:
        function: runs in each process; must be importable by name.
        num_gpus_per_machine: processes on each machine; with one process in all, the function
            runs in this one.
        **options: ``num_machines``, ``machine_rank``, ``dist_url`` and ``args`` of Detectron2's
            `launch`.
    """
    launch_processes(_PartInOrder(function), num_gpus_per_machine, **options)
