"""However the demo ends, what was done can be used."""

import json
import os
import signal
import sys
from types import SimpleNamespace

import pytest
from small_videos import read_by_opencv

from mobileinst_core.video import writers
from mobileinst_core.video.writers import VideoWriter


@pytest.fixture
def track(run, fake, video, tmp_path):
    """Run the demo on the video."""
    outputs = ("--output", tmp_path / "o.mp4", "--save-json", tmp_path / "r.json")
    return lambda *more: run("--video-input", video, *outputs, *more)


def frames_done(folder):
    """How many frames the video and the JSON have."""
    (entry,) = json.loads((folder / "r.json").read_text())
    return len(read_by_opencv(folder / "o.mp4")), len(entry["segmentations"])


@pytest.fixture
def after_three(demo, monkeypatch):
    """Have something done after the third frame was written."""

    def install(action):
        class Writer(VideoWriter):
            def write(self, *arguments):
                super().write(*arguments)
                if self.num_frames == 3:
                    action()

        monkeypatch.setattr(demo, "VideoWriter", Writer)

    return install


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_leaves_a_video_and_results(track, after_three, tmp_path, name, capsys):
    number = getattr(signal, name)
    handler = signal.getsignal(number)
    after_three(lambda: os.kill(os.getpid(), number))
    assert track() == 128 + number
    assert frames_done(tmp_path) == (3, 3)
    assert ("Interrupted" if name == "SIGINT" else f"Ended: {name}") in capsys.readouterr().err
    assert signal.getsignal(number) is handler


def test_a_signal_that_is_ignored_stays_so(track, after_three, tmp_path):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        after_three(lambda: os.kill(os.getpid(), signal.SIGHUP))
        assert track() == 0
    finally:
        signal.signal(signal.SIGHUP, before)
    assert frames_done(tmp_path) == (7, 7)


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_closed_pipe_leaves_a_video_and_results(track, after_three, tmp_path, monkeypatch, name):
    reading, writing = os.pipe()
    with os.fdopen(writing, "w") as pipe:
        monkeypatch.setattr(sys, name, pipe)
        after_three(lambda: os.close(reading))
        assert track("--timings") == 141
    video, results = frames_done(tmp_path)
    assert video == results >= 3


def test_a_full_disk_keeps_what_is_there(track, tmp_path, monkeypatch, capsys):
    free = iter([2**30] * 4 + [2**20])
    usage = lambda _: SimpleNamespace(free=next(free))  # noqa: E731
    monkeypatch.setattr(writers.shutil, "disk_usage", usage)
    assert track() == 1
    assert "the disk is full" in capsys.readouterr().err
    assert frames_done(tmp_path) == (4, 5)


@pytest.mark.parametrize("kind", ["video", "images"])
def test_nothing_above_the_threshold_is_told_with_the_best_score(
    run, fake, video, images, tmp_path, caplog, kind
):
    fake.is_blind, fake.score = True, 0.375
    source = ("--video-input", video) if kind == "video" else ("--input", images)
    assert run(*source, "--output", tmp_path / "out", "--confidence-threshold", 0.5) == 0
    best = "0.125" if kind == "video" else "0.375"
    assert f"no object reached the score 0.5; the best had {best}" in caplog.text
