"""The demo on a camera: what is dropped, and how it ends."""

import json
import logging
import threading

import pytest
from small_videos import times_of


@pytest.fixture(autouse=True)
def _no_thread_stays():
    yield
    names = {thread.name for thread in threading.enumerate()}
    assert not names & {"camera", "reading", "tracking"}


@pytest.fixture
def slow_model(fake, camera):
    """A model that is busy with the first frame until the camera has given all others."""
    step = fake.step

    def wait_and_step(frame, **options):
        camera.exhausted.wait(10)
        return step(frame, **options)

    fake.step = wait_and_step
    return fake


@pytest.fixture
def record(run, camera, tmp_path):
    """Run the demo on the camera."""
    return lambda *more: run("--webcam", 3, "--output", tmp_path / "out.mp4", *more)


def test_a_camera_is_tracked_until_the_last_frame_asked_for(fake, camera, record, tmp_path):
    assert record("--end", "4") == 0
    times = times_of(tmp_path / "out.mp4")
    # Those that were dropped leave gaps; a camera that tells no rate is taken to have 25.
    assert times[0] == 0
    assert times[-1] == pytest.approx(3 / 25)
    assert len(camera.frames) == 2
    assert camera.released


def test_a_slow_model_drops_frames_and_the_video_keeps_its_length(
    slow_model, camera, record, tmp_path, caplog
):
    with caplog.at_level(logging.INFO):
        record("--save-masks", tmp_path / "masks")
    assert slow_model.frames == 2  # the first and the last of six
    assert "4 of 6 frames were dropped" in caplog.text
    assert times_of(tmp_path / "out.mp4") == pytest.approx([0, 5 / 25])
    names = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert names == ["000000.png", "000005.png"]


def test_a_camera_that_breaks_off_leaves_what_was_done(
    slow_model, camera, record, tmp_path, capsys
):
    results = tmp_path / "results.json"
    assert record("--end", "100", "--save-json", results) == 1
    assert "error: camera 3 gives no more frames after 6" in capsys.readouterr().err
    assert times_of(tmp_path / "out.mp4") == pytest.approx([0, 5 / 25])
    (entry,) = json.loads(results.read_text())
    assert [mask is None for mask in entry["segmentations"]] == [False, *[True] * 4, False]
    assert camera.released


def test_escape_ends_a_camera_well(fake, camera, window, record, tmp_path):
    window.stop_after = 1
    assert record("--show") == 0
    assert times_of(tmp_path / "out.mp4") == [0]
    assert camera.released


def test_an_error_of_the_model_releases_the_camera(fake, camera, record):
    def fail(_frame, **_options):
        raise RuntimeError("out of memory")

    fake.step = fail
    with pytest.raises(RuntimeError, match="out of memory"):
        record()
    assert camera.released


def test_results_of_a_camera_need_an_end(fake, camera, record, tmp_path, capsys):
    assert record("--save-json", tmp_path / "r.json") == 1
    assert "needs an --end" in capsys.readouterr().err
    assert camera.released
