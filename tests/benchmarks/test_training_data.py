"""The benchmark of training data measures what it says; times themselves are not tested."""

import contextlib
import json

import torch
import training_data
from detectron2.data import DatasetCatalog

SMALL = ["INPUT.MIN_SIZE_TRAIN", "[40]", "SOLVER.IMS_PER_BATCH", "2"]


def measure(rank, arguments, output):
    training_data.SHAPES_VIDEOS, training_data.SHAPES_FRAMES = 2, 5
    training_data.SHAPES_SIZE = 48, 64
    with open(output, "w") as file, contextlib.redirect_stdout(file):
        assert training_data.main(arguments) == 0
        assert training_data.SHAPES not in DatasetCatalog


def test_shapes_are_made_measured_and_forgotten(tmp_path):
    file = tmp_path / "found.json"
    arguments = ["--clips", "4", "--repeats", "2", "--workers", "1", "--json", str(file), *SMALL]
    # In a process of its own: loader processes are forks, and the fork of a process with the
    # threads of hundreds of tests has waited for a lock for ever.
    torch.multiprocessing.spawn(measure, args=(arguments, tmp_path / "printed.txt"))
    printed = (tmp_path / "printed.txt").read_text()
    assert "2 videos, 10 frames" in printed
    assert "medians of 2 x 4 clips" in printed
    for line in ("| ClipMapper", "| decode all", "| loader processes", "| serialised", "| list"):
        assert line in printed
    found = json.loads(file.read_text())
    assert set(found["seconds_per_clip"]) == {"ClipMapper", "decode all"}
    assert min(found["seconds_per_clip"].values()) > 0
    assert set(found["frames_per_second"]) == {"0", "1"}
    assert found["machine"] in printed
