"""Detectron2's `launch`, with processes that part in order, and for processes that already run."""

import gc
import os
from collections.abc import Callable
from typing import Any

import torch.distributed
from detectron2.engine import launch as launch_processes
from detectron2.engine.launch import _distributed_worker
from detectron2.utils import comm

from .setup import ConfigError

__all__ = ["launch"]

# What torchrun, and starters like it, tell each process.
_STARTED = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")


class _PartInOrder:
    """A function of one process of a job, after which the process leaves the group."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any) -> Any:
        result = self.function(*args)
        if comm.get_world_size() > 1:
            comm.synchronize()
            _leave_groups()
        return result


def _leave_groups() -> None:
    """End the process groups of this process, with their threads.

    A process that ends while such threads still run is aborted now and then, and the job with it.
    They end with the last reference to their group.
    """
    torch.distributed.destroy_process_group()
    comm._LOCAL_PROCESS_GROUP = None
    comm._get_global_gloo_group.cache_clear()
    # What the function left behind, such as a model that averages its gradients, may be cyclic.
    gc.collect()


def launch(function: Callable[..., Any], num_gpus_per_machine: int, **options: Any) -> None:
    """Run a function in one process per GPU, or per CPU process where there is no GPU.

    Inside of torchrun, which has started the processes, the function runs in each of them.

    Args:
        function: runs in each process; must be importable by name.
        num_gpus_per_machine: processes on each machine; with one process in all, the function
            runs in this one. 1 inside of torchrun, which knows their number.
        **options: ``num_machines``, ``machine_rank``, ``dist_url`` and ``args`` of Detectron2's
            `launch`. Of these only ``args`` inside of torchrun.

    Raises:
        ConfigError: if torchrun has started the processes, and more are asked for.
    """
    function = _PartInOrder(function)
    if not all(name in os.environ for name in _STARTED):
        launch_processes(function, num_gpus_per_machine, **options)
        return
    if num_gpus_per_machine > 1 or options.get("num_machines", 1) > 1:
        raise ConfigError(
            "torchrun has started the processes already: give their number to torchrun, and leave "
            "out --num-gpus and --num-machines."
        )
    rank, world_size, local_rank, local_size = (int(os.environ[name]) for name in _STARTED)
    args = options.get("args", ())
    if world_size == 1:
        function(*args)
        return
    machine_rank = rank // local_size
    _distributed_worker(local_rank, function, world_size, local_size, machine_rank, "env://", args)
