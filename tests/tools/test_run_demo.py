import json

import run_demo


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
