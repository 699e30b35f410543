"""The benchmark of drawing measures what it says; times themselves are not tested."""

import re

import benchmark_drawing
import pytest


def test_both_ways_of_drawing_are_measured_on_one_core(capsys, monkeypatch):
    threads = []
    monkeypatch.setattr(benchmark_drawing.cv2, "setNumThreads", threads.append)
    monkeypatch.setattr(benchmark_drawing.torch, "set_num_threads", threads.append)
    arguments = ["--size", "48", "64", "--objects", "2", "--repeats", "3"]
    assert benchmark_drawing.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "64x48, 2 objects, one core" in printed
    assert threads == [1, 1]
    times = [
        float(re.search(rf"{name} +\| +(\d+\.\d)", printed)[1])
        for name in ("TrackVisualizer", "Detectron2's Visualizer")
    ]
    assert min(times) >= 0


def test_the_objects_cover_what_they_should():
    frame, instances = benchmark_drawing.make_frame(180, 320, 5)
    assert frame.shape == (180, 320, 3)
    assert len(instances) == 5
    covered = instances.pred_masks.float().mean(dim=(1, 2)).sum()
    assert covered == pytest.approx(benchmark_drawing.COVERAGE, abs=0.05)


@pytest.mark.parametrize("arguments", [["--objects", "0"], ["--size", "0", "9"]])
def test_nonsense_is_refused(arguments, capsys):
    with pytest.raises(SystemExit):
        benchmark_drawing.main(arguments)
    assert "is below" in capsys.readouterr().err
