"""The benchmark of training data measures what it says; times themselves are not tested."""

import contextlib
import json

import numpy as np
import pytest
import torch
import training_data
from detectron2.data import DatasetCatalog, MetadataCatalog

from mobileinst_d2.data import ClipMapper
from mobileinst_d2.data.build import ClipDataset
from mobileinst_d2.data.datasets import make_moving_shapes, register_ytvis_instances
from mobileinst_d2.data.datasets.ytvis import load_ytvis_json
from mobileinst_d2.engine import setup_cfg

SMALL = ["INPUT.MIN_SIZE_TRAIN", "[40]", "SOLVER.IMS_PER_BATCH", "2"]


@pytest.fixture(autouse=True)
def shapes(monkeypatch, tmp_path):
    """Makes the benchmark small; the folder of a data set of the same kind."""
    monkeypatch.setattr(training_data, "SHAPES_VIDEOS", 2)
    monkeypatch.setattr(training_data, "SHAPES_FRAMES", 5)
    monkeypatch.setattr(training_data, "SHAPES_SIZE", (48, 64))
    monkeypatch.setattr(training_data.cv2, "setNumThreads", lambda _: None)
    monkeypatch.setattr(training_data.torch, "set_num_threads", lambda _: None)
    datasets, metadata = dict(DatasetCatalog.data), dict(MetadataCatalog.data)
    yield make_moving_shapes(tmp_path, num_videos=3, num_frames=6, height=48, width=64) / "train"
    for catalog, before in ((DatasetCatalog, datasets), (MetadataCatalog, metadata)):
        catalog.data.clear()
        catalog.data.update(before)


def test_both_mappers_make_the_same_clips(shapes):
    cfg = setup_cfg(training_data.CONFIG, ["MODEL.DEVICE", "cpu", *SMALL])
    own = ClipMapper(cfg, is_train=True)
    other = training_data.DecodeAllMapper(own)
    dataset = ClipDataset(load_ytvis_json(shapes / "instances.json", shapes / "JPEGImages"))
    for index in range(len(dataset)):
        clips = []
        for mapper in (own, other):
            np.random.seed(index)
            clips.append(mapper(dataset[index]))
        assert clips[0]["frame_idx"] == clips[1]["frame_idx"]
        assert all(map(torch.equal, clips[0]["image"], clips[1]["image"]))
        for a, b in zip(clips[0]["instances"], clips[1]["instances"], strict=True):
            assert torch.equal(a.gt_masks.tensor, b.gt_masks.tensor)
            assert torch.equal(a.gt_ids, b.gt_ids)
            assert torch.equal(a.gt_classes, b.gt_classes)


def measure_twice(rank, arguments, output):
    training_data.SHAPES_VIDEOS, training_data.SHAPES_FRAMES = 2, 5
    training_data.SHAPES_SIZE = 48, 64
    with open(output, "w") as file, contextlib.redirect_stdout(file):
        assert training_data.main(arguments) == 0
        assert training_data.SHAPES not in DatasetCatalog
        assert training_data.main(arguments) == 0


def test_shapes_are_made_measured_and_forgotten(tmp_path):
    file = tmp_path / "found.json"
    arguments = ["--clips", "4", "--repeats", "2", "--workers", "1", "--json", str(file), *SMALL]
    # In a process of its own: loader processes are forks, and the fork of a process with the
    # threads of hundreds of tests has waited for a lock for ever.
    torch.multiprocessing.spawn(measure_twice, args=(arguments, tmp_path / "printed.txt"))
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


def test_any_video_data_set_can_be_measured(shapes, capsys):
    register_ytvis_instances("mine", {}, shapes / "instances.json", shapes / "JPEGImages")
    assert training_data.main(["--dataset", "mine", "--clips", "2", "--repeats", "1", *SMALL]) == 0
    assert "mine: 3 videos, 18 frames" in capsys.readouterr().out
    assert "mine" in DatasetCatalog


@pytest.mark.parametrize(
    ("dataset", "message"), [("nothing", "no data set 'nothing'"), ("coco_2017_val", "no videos")]
)
def test_other_data_sets_are_refused(dataset, message, fails):
    fails(message, training_data.main, ["--dataset", dataset])
