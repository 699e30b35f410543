"""Frames of test videos: read on access, exactly as images are."""

import pickle

import numpy as np
import pytest
import torch

from mobileinst_core.video.images import ImageReadError
from mobileinst_d2.data import ClipMapper, ImageMapper, LazyFrames


@pytest.fixture
def record(shape_records):
    return shape_records[0]


@pytest.fixture
def video(cfg, record):
    return ClipMapper(cfg, is_train=False)(record)


def test_input(video, record):
    assert set(video) == {"video_id", "height", "width", "length", "file_names", "image"}
    assert (video["height"], video["width"], video["length"]) == (48, 64, 8)
    assert video["file_names"] == record["file_names"]
    assert isinstance(video["image"], LazyFrames)
    assert len(video["image"]) == 8
    assert all(frame.shape == (3, 36, 48) for frame in video["image"])
    assert video["image"][0].dtype == torch.uint8


def test_frames_equal_the_images_of_the_image_mapper(video, record, cfg):
    image_mapper = ImageMapper(cfg, is_train=False)
    for name, frame in zip(record["file_names"], video["image"], strict=True):
        image = image_mapper({"file_name": name, "height": 48, "width": 64, "image_id": 0})
        assert torch.equal(frame, image["image"])


def test_it_is_a_sequence(video):
    frames = video["image"]
    assert torch.equal(frames[-1], frames[7])
    assert torch.equal(frames[np.int64(2)], frames[2])
    part = frames[2:6:2]
    assert isinstance(part, LazyFrames)
    assert len(part) == 2
    assert torch.equal(part[1], frames[4])
    with pytest.raises(IndexError):
        frames[8]


def test_nothing_is_read_before_access(record, cfg):
    record["file_names"] = [f"/nowhere/{t}.jpg" for t in range(8)]
    frames = ClipMapper(cfg, is_train=False)(record)["image"]
    assert len(frames[:3]) == 3
    with pytest.raises(ImageReadError, match=r"Video 1, frame 5.*/nowhere/5\.jpg"):
        frames[5]


def test_it_passes_between_processes_as_paths_only(video):
    data = pickle.dumps(video["image"])
    assert len(data) < 5000
    assert torch.equal(pickle.loads(data)[3], video["image"][3])
