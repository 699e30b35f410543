"""Benchmarks measure what they say, and end where ways differ; times themselves are not tested."""

import json
import logging
import re

import annotations
import coco_evaluation
import evaluation
import overlap
import preparation
import pytest
import training_step
from small_videos import grey_frames, write_plain
from tiny_models import build_tiny_model

ANNOTATIONS = ["--masks", "300", "--size", "48", "64", "--repeats", "1"]
IMAGES = ["--images", "2", "--results", "6", "--objects", "2", "--size", "48", "64"]
IMAGES += ["--repeats", "1"]
VIDEOS = ["--videos", "4", "--frames", "3", "--tracks", "3", "--size", "48", "64", "--repeats", "1"]
STEP = ["--size", "64", "64", "--repeats", "1", "--objects", "2"]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(annotations, "DISTINCT_MASKS", 8)
    monkeypatch.setattr(coco_evaluation.cv2, "setNumThreads", lambda _: None)
    monkeypatch.setattr(training_step, "build_model", lambda _: build_tiny_model())
    yield
    logging.disable(logging.NOTSET)


INTEGERS, TEXT = (
    r"lists of integers +\| +load_records",
    r"compressed text +\| +the JSON parser alone",
)
WAYS = {
    annotations: (ANNOTATIONS, [INTEGERS, TEXT, "lists and mappings"]),
    coco_evaluation: (IMAGES, ["RLEs from logits", "masks, then RLEs", "pycocotools"]),
    evaluation: (VIDEOS, evaluation.ENCODINGS),
    training_step: (STEP, training_step.WAYS),
}


@pytest.mark.parametrize("benchmark", WAYS, ids=lambda module: module.__name__)
def test_every_way_is_measured(benchmark, capsys):
    arguments, rows = WAYS[benchmark]
    assert benchmark.main(arguments) == 0
    printed = capsys.readouterr().out
    for row in rows:
        assert re.search(rf"^\| {row} +(\| +[\d.]+ )+\|$", printed, re.MULTILINE), (row, printed)


def test_prepared_frames_are_compared_with_pillows(tmp_path, capsys):
    file = tmp_path / "frames.json"
    sizes = ["--size", "64", "96", "32", "48", "33", "50", "--fit", "32", "48"]
    preparation.main([*sizes, "--repeats", "2", "--json", str(file)])
    found = json.loads(file.read_text())["frames"]
    assert [x["size"] for x in found] == [[64, 96], [32, 48], [33, 50]]
    assert [x["different"] for x in found] == [0, 0, 0]


def test_the_gain_of_stages_that_overlap_is_told(exported, tmp_path, capsys):
    video = write_plain(tmp_path / "a.mp4", grey_frames(6))
    arguments = ["--model", str(exported("onnx")), "--video", str(video), "--threshold", "0"]
    out = tmp_path / "o.json"
    assert overlap.main([*arguments, "--frames", "5", "--rounds", "2", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert set(found["cpu_ms"]) == {"read and prepare", "track", "draw and write"}
    assert 1 <= found["possible"] <= found["cores"]
