"""The benchmark of image evaluation compares ways that agree; times themselves are not tested."""

import re

import coco_evaluation
import pytest


@pytest.fixture(autouse=True)
def _all_threads(monkeypatch):
    monkeypatch.setattr(coco_evaluation.cv2, "setNumThreads", lambda _: None)


def test_every_way_is_measured(capsys):
    small = ["--images", "2", "--results", "6", "--objects", "2", "--size", "48", "64"]
    assert coco_evaluation.main([*small, "--repeats", "1"]) == 0
    printed = capsys.readouterr().out
    assert "2 images of 64x48" in printed
    for way in ("RLEs from logits", "masks, then RLEs", "pycocotools"):
        assert re.search(rf"^\| {way} +\| +\d+\.\d \|$", printed, re.MULTILINE)


def test_different_rles_are_an_error(capsys, monkeypatch):
    monkeypatch.setattr(coco_evaluation, "encode_masks", lambda *_, **__: [])
    assert coco_evaluation.main(["--images", "1", "--results", "3", "--size", "48", "64"]) == 1
    assert "differ" in capsys.readouterr().err
