"""The demo as its users call it: what comes out, with a perfect model and with a random one."""

import json
import logging
import re

import cv2
import numpy as np
import pytest

from mobileinst_core.video.drawing import instance_color
from mobileinst_d2.utils.classes import save_class_names

# Those of the video that the fixture makes.
WIDTH, HEIGHT, FRAMES, FPS = 96, 64, 7, 12.5


def read_all(path):
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    frames = []
    while (item := capture.read())[0]:
        frames.append(item[1])
    return frames, fps


def center_of(frame, index):
    """The mean colour inside the square of a frame."""
    return frame[36:40, 8 * index + 6 : 8 * index + 10].reshape(-1, 3).mean(axis=0)


SHOWN = 0.5 * 255 + 0.5 * np.array(instance_color(5))


def test_video_keeps_count_rate_and_size_and_shows_the_track(run, fake, video, tmp_path):
    assert run("--video-input", video, "--output", tmp_path / "out.mp4") == 0
    frames, fps = read_all(tmp_path / "out.mp4")
    assert len(frames) == FRAMES == fake.frames
    assert fps == pytest.approx(FPS)
    assert fake.threshold == 0.4
    for index, frame in enumerate(frames):
        assert frame.shape == (HEIGHT, WIDTH, 3)
        assert np.abs(center_of(frame, index) - SHOWN).max() < 25


def test_each_image_gives_one_drawn_image(run, fake, images, moving_square, tmp_path):
    output = tmp_path / "out"
    assert run("--input", images, "--output", output) == 0
    assert {path.name for path in output.iterdir()} == {"img1.png", "img2.png", "img10.png"}
    drawn = cv2.imread(str(output / "img1.png"))
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    assert not np.array_equal(drawn[36, 16], moving_square(1)[36, 16])


@pytest.mark.parametrize(("threshold", "shown"), [("0.95", False), ("0.85", True), ("0", True)])
def test_threshold_decides_what_is_drawn(run, fake, images, tmp_path, threshold, shown):
    source, output = images / "img1.png", tmp_path / "out.png"
    assert run("--input", source, "--output", output, "--confidence-threshold", threshold) == 0
    assert np.array_equal(cv2.imread(str(output)), cv2.imread(str(source))) != shown


@pytest.mark.parametrize(("extra", "shown"), [([], 0), (["--show"], FRAMES)])
def test_a_window_opens_beside_files_only_if_told(run, fake, video, window, tmp_path, extra, shown):
    assert run("--video-input", video, *extra, "--save-masks", tmp_path / "masks") == 0
    assert len(window.shown) == shown


def test_key_frames_are_marked_on_request(run, fake, images, tmp_path, written):
    assert run("--video-input", images, "--mark-keyframes", "--output", tmp_path / "o.mp4") == 0
    label = "#5 class 1 .90"
    assert written == ["key frame", label, label, label]


def test_masks_are_named_like_their_frames(run, fake, images, video, tmp_path):
    of_images, of_video = tmp_path / "a", tmp_path / "b"
    assert run("--video-input", images, "--save-masks", of_images) == 0
    names = ["img1.png", "img10.png", "img2.png"]
    assert sorted(path.name for path in of_images.iterdir()) == names
    part = ("--start", 1, "--stride", 2)
    assert run("--video-input", video, *part, "--save-masks", of_video) == 0
    names = [f"{index:06d}.png" for index in range(1, 7, 2)]
    assert sorted(path.name for path in of_video.iterdir()) == names
    image = cv2.imread(str(of_video / "000003.png"), cv2.IMREAD_UNCHANGED)
    assert image.dtype == np.uint16
    assert image.shape == (HEIGHT, WIDTH)
    assert (image[32:44, 26:38] == 5).all()
    assert (image[:20] == 0).all()


def test_results_take_the_ids_of_the_weights(run, fake, video, tmp_path):
    save_class_names(tmp_path, ["a", "b", "c"], [10, 20, 30])
    path = tmp_path / "new" / "results.json"
    options = ("--save-json", path, "--video-id", 7)
    weights = ("--opts", "MODEL.WEIGHTS", tmp_path / "model.pth")
    assert run("--video-input", video, *options, *weights) == 0
    (entry,) = json.loads(path.read_text())
    assert (entry["video_id"], entry["category_id"], entry["score"]) == (7, 20, 0.5)
    assert len(entry["segmentations"]) == FRAMES
    assert entry["segmentations"][0]["size"] == [HEIGHT, WIDTH]


def test_timings_are_a_table(run, fake, video, tmp_path, capsys):
    fake.timings = {"prepare": 0.001, "network": 0.5, "association": 0.001, "masks": 0.001}
    assert run("--video-input", video, "--timings", "--output", tmp_path / "o.mp4") == 0
    printed = capsys.readouterr().out
    stages = re.findall(r"^(\w+) +\d+\.\d$", printed, re.MULTILINE)
    assert stages == ["read", *fake.timings, "draw", "write", "total"]
    assert re.search(r"\nnetwork +500\.0\n", printed)
    assert f"without drawing and writing (medians of {FRAMES} frames)" in printed


def test_random_model_tracks_a_video_and_says_that_it_is_random(run, video, tmp_path, caplog):
    output = tmp_path / "out.mp4"
    options = ("--confidence-threshold", 0, "--opts", "TEST.TRACKING.CLIP_LEN", 3)
    with caplog.at_level(logging.WARNING):
        assert run("--video-input", video, "--output", output, *options) == 0
    assert "RANDOM" in caplog.text
    frames, fps = read_all(output)
    assert len(frames) == FRAMES
    assert fps == pytest.approx(FPS)
