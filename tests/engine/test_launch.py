import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from detectron2.engine.launch import _find_free_port
from detectron2.utils import comm

from mobileinst_d2.engine import ConfigError, launch


def write_rank(folder):
    local = f"{comm.get_local_rank()} of {comm.get_local_size()}"
    Path(folder, str(comm.get_rank())).write_text(f"{local}, {comm.get_world_size()}")


def ranks(folder):
    """What each process wrote: rank and number on its machine, number in all."""
    return {path.name: path.read_text() for path in folder.iterdir()}


def fail(folder):
    raise RuntimeError(f"process {comm.get_rank()} failed")


def test_one_process_runs_here(tmp_path):
    launch(write_rank, 1, args=(tmp_path,))
    assert ranks(tmp_path) == {"0": "0 of 1, 1"}
    assert not torch.distributed.is_initialized()


def test_two_machines_run_one_process_each(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    options = {"num_machines": 2, "dist_url": f"tcp://127.0.0.1:{_find_free_port()}"}
    with ThreadPoolExecutor(2) as pool:
        machines = [
            pool.submit(launch, write_rank, 1, machine_rank=rank, args=(tmp_path,), **options)
            for rank in (0, 1)
        ]
    assert [machine.result() for machine in machines] == [None, None]
    assert ranks(tmp_path) == {"0": "0 of 1, 2", "1": "0 of 1, 2"}


def run_script(rank, port, folder):
    """What torchrun runs, with what it tells the process."""
    told = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    told |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in told.items()})
    launch(write_rank, 1, args=(folder,))


def test_the_processes_of_torchrun_are_used(tmp_path):
    torch.multiprocessing.spawn(run_script, args=(_find_free_port(), tmp_path), nprocs=2)
    assert ranks(tmp_path) == {"0": "0 of 2, 2", "1": "1 of 2, 2"}


@pytest.fixture
def _only_process_of_torchrun(monkeypatch):
    for name, value in {"RANK": 0, "LOCAL_RANK": 0, "WORLD_SIZE": 1, "LOCAL_WORLD_SIZE": 1}.items():
        monkeypatch.setenv(name, str(value))


@pytest.mark.usefixtures("_only_process_of_torchrun")
def test_the_only_process_of_torchrun_needs_no_group(tmp_path):
    launch(write_rank, 1, args=(tmp_path,))
    assert ranks(tmp_path) == {"0": "0 of 1, 1"}
    assert not torch.distributed.is_initialized()


@pytest.mark.usefixtures("_only_process_of_torchrun")
@pytest.mark.parametrize(("number", "options"), [(2, {}), (1, {"num_machines": 2})])
def test_torchrun_alone_says_how_many(number, options):
    with pytest.raises(ConfigError, match="give their number to torchrun"):
        launch(fail, number, **options)
