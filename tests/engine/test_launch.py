from pathlib import Path

import pytest
import torch
from detectron2.utils import comm

from mobileinst_d2.engine import launch


def write_rank(folder):
    Path(folder, str(comm.get_rank())).write_text(str(comm.get_world_size()), encoding="utf-8")


def fail(folder):
    raise RuntimeError(f"process {comm.get_rank()} failed")


def test_one_process_runs_here(tmp_path):
    launch(write_rank, 1, args=(tmp_path,))
    assert [path.name for path in tmp_path.iterdir()] == ["0"]
    assert not torch.distributed.is_initialized()


def test_two_processes_run_and_leave(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    launch(write_rank, 2, dist_url="auto", args=(tmp_path,))
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {"0": "2", "1": "2"}


def test_errors_reach_the_caller(tmp_path):
    with pytest.raises(RuntimeError, match="process 0 failed"):
        launch(fail, 1, args=(tmp_path,))
