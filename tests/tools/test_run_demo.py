import json

import pytest
import run_demo

from mobileinst_core.video.readers import VideoReader


def test_undefined_metrics_are_null(tmp_path, monkeypatch):
    monkeypatch.setattr(run_demo, "DATA", tmp_path / "data")
    run_demo.make_moving_shapes(run_demo.DATA, num_videos=1, num_frames=3, height=64, width=64)
    results = tmp_path / "results.json"
    results.write_text("[]", encoding="utf-8")
    metrics = run_demo.score(results)
    assert list(metrics) == list(run_demo.METRICS)
    assert metrics["AP"] == 0.0
    assert metrics["APl"] is None  # a frame of 64 x 64 holds no large object
    assert json.loads(json.dumps(metrics)) == metrics


def test_show_video_has_all_frames(tmp_path):
    path = tmp_path / "input.mp4"
    run_demo.make_show_video(path)
    with VideoReader(path) as reader:
        assert reader.fps == run_demo.SHOW_FPS
        assert len(list(reader)) == run_demo.SHOW_FRAMES


def test_failing_step_stops_the_demo(tmp_path, capsys):
    script = tmp_path / "fails.py"
    script.write_text("raise SystemExit(3)", encoding="utf-8")
    steps = run_demo.Steps(1)
    steps.announce("failing")
    with pytest.raises(SystemExit, match="exit code 3"):
        steps.run(str(script))
    assert "[1/1] failing" in capsys.readouterr().out
