"""Benchmarks measure what they say, and end where ways differ; times themselves are not tested."""

import json
import logging
import re

import annotations
import coco_evaluation
import evaluation
import initialization
import overlap
import preparation
import pytest
import training_step
from small_videos import grey_frames, write_plain
from tiny_models import build_tiny_model

ANNOTATIONS = ["--masks", "300", "--size", "48", "64", "--repeats", "1"]
IMAGES = ["--images", "2", "--results", "6", "--objects", "2", "--size", "48", "64"]
VIDEOS = ["--videos", "4", "--frames", "3", "--tracks", "3", "--size", "48", "64", "--repeats", "1"]
STEP = ["--size", "64", "64", "--repeats", "1", "--objects", "2"]


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(annotations, "DISTINCT_MASKS", 8)
    monkeypatch.setattr(coco_evaluation.cv2, "setNumThreads", lambda _: None)
    monkeypatch.setattr(training_step, "build_model", lambda _: build_tiny_model())
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    ("benchmark", "arguments", "rows"),
    [
        (
            annotations,
            ANNOTATIONS,
            [
                r"lists of integers +\| +load_records",
                r"compressed text +\| +the JSON parser alone",
                "lists and mappings",
            ],
        ),
        (
            coco_evaluation,
            [*IMAGES, "--repeats", "1"],
            ["RLEs from logits", "masks, then RLEs", "pycocotools"],
        ),
        (
            evaluation,
            VIDEOS,
            [
                "evaluate_ytvis",
                "the same, from lists of run lengths",
                "the command, with its start",
                "plain loops",
            ],
        ),
        (training_step, STEP, training_step.WAYS),
    ],
    ids=["annotations", "coco_evaluation", "evaluation", "training_step"],
)
def test_every_way_is_measured(benchmark, arguments, rows, capsys):
    assert benchmark.main(arguments) == 0
    printed = capsys.readouterr().out
    for row in rows:
        assert re.search(rf"^\| {row} +(\| +[\d.]+ )+\|$", printed, re.MULTILINE), (row, printed)


LOSSES = {way: (1.0, {"loss": 1.0 + i}) for i, way in enumerate(training_step.WAYS)}


@pytest.mark.parametrize(
    ("benchmark", "name", "result", "arguments"),
    [
        (coco_evaluation, "encode_masks", [], IMAGES),
        (evaluation, "plain_iou", 1.0, VIDEOS),
        (training_step, "measure", LOSSES, []),
    ],
)
def test_ways_that_differ_are_an_error(benchmark, name, result, arguments, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, name, lambda *_, **__: result)
    assert benchmark.main(arguments) == 1
    assert "differ" in capsys.readouterr().err


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


def test_scales_losses_and_gradients_of_a_new_network():
    cfg = initialization.load_config(initialization.CONFIGS.parent / "toy" / "shapes_video.yaml")
    result = initialization.measure(cfg, initialization.moving_shapes_clip(64))
    assert 0.3 < result["scales"]["classes"] < 1.0
    assert set(result["losses"]) == set(result["gradients"]) >= {"loss_cls", "loss_passed_mask"}
    classes = result["gradients"]["loss_cls"]
    assert classes["instance_decoder.class_head"] > 0
    assert classes["instance_decoder.kernel_head"] == 0
    assert initialization.report({"toy": result}).count("| toy ") == 3 + len(result["losses"])
