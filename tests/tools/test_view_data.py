"""Data and errors become images, videos and tables, for videos and for images."""

import csv
import json
import runpy
import sys
from pathlib import Path

import analyze_results
import cv2
import numpy as np
import pytest
import view_data
from pycocotools import mask as mask_util

from mobileinst_core.files import read_json
from mobileinst_core.video.readers import VideoReader


def results_of(path, folder):
    """A results file that repeats the annotations, with a score."""
    content = read_json(path)
    keys = {"videos": ("video_id", "segmentations"), "images": ("image_id", "segmentation")}
    owner, masks = keys["videos" if "videos" in content else "images"]
    entries = [
        {owner: x[owner], "category_id": x["category_id"], "score": 0.9, masks: x[masks]}
        for x in content["annotations"]
    ]
    file = folder / "results.json"
    file.write_text(json.dumps(entries))
    return file


@pytest.fixture(params=["instances.json", "coco.json"])
def files(request, moving_shapes, tmp_path):
    """Annotations, their images, and results."""
    root = moving_shapes / "val"
    path = root / request.param
    return path, root / "JPEGImages", results_of(path, tmp_path)


def test_results_are_drawn_beside_annotations(files, tmp_path):
    path, images, results = files
    output = tmp_path / "drawn"
    arguments = ["--json", path, "--images", images, "--results", results, "--output", output]
    assert view_data.main([*map(str, arguments), "--max", "2"]) == 0
    drawn = sorted(p.name for p in output.iterdir() if p.name != "contact_sheet.jpg")
    content = read_json(path)
    if "videos" in content:
        assert drawn == sorted(f"{video['id']}.mp4" for video in content["videos"])
        with VideoReader(output / drawn[0]) as reader:
            frames = list(reader)
        assert len(frames) == 8
        frame = frames[0]
    else:
        assert len(drawn) == 2
        frame = cv2.imread(str(output / drawn[0]))
    assert frame.shape == (48, 2 * 64, 3)
    original = cv2.imread(str(images / _first_file(content)))
    difference = np.abs(frame.astype(int) - np.hstack([original, original])).max(2)
    # The same objects are drawn on both sides; labels may cover some of their pixels.
    entry = content["annotations"][0]
    code = entry["segmentations"][0] if "videos" in content else entry["segmentation"]
    shown = mask_util.decode(code).astype(bool)
    for side in (difference[:, :64], difference[:, 64:]):
        assert np.median(side[shown]) > 20
    assert cv2.imread(str(output / "contact_sheet.jpg")) is not None


def _first_file(content):
    if "videos" in content:
        return content["videos"][0]["file_names"][0]
    return content["images"][0]["file_name"]


def test_augmented_samples_are_drawn(files, tmp_path):
    path, images, _ = files
    kind = "ytvis" if path.name == "instances.json" else "coco"
    custom = {"NAME": f"view_{kind}", "FORMAT": kind, "JSON": str(path), "IMAGE_ROOT": str(images)}
    output = tmp_path / "samples"
    arguments = ["--config-file", "finetune/video.yaml", "--output", output, "--max", "3"]
    opts = [
        *("DATASETS.CUSTOM", [custom], "DATASETS.TRAIN", (f"view_{kind}",), "SEED", 1),
        *("SOLVER.IMS_PER_BATCH", 2, "INPUT.MIN_SIZE_TRAIN", (40, 60), "INPUT.COPY_PASTE", 1.0),
    ]
    assert view_data.main([*map(str, arguments), *map(str, opts)]) == 0
    names = sorted(p.name for p in output.iterdir())
    assert names[0] == "contact_sheet.jpg"
    assert len(names) == 1 + 3 * (2 if kind == "ytvis" else 1)


def test_perfect_results_have_no_errors(files, tmp_path, capsys):
    path, _, results = files
    output = tmp_path / "errors"
    arguments = ["--gt", path, "--results", results, "--output", output]
    assert analyze_results.main(list(map(str, arguments))) == 0
    assert "F1 1.000" in capsys.readouterr().out
    with (output / "videos.csv").open() as file:
        rows = list(csv.DictReader(file))
    content = read_json(path)
    assert len(rows) == len(content.get("videos", content.get("images")))
    assert {row["f1"] for row in rows} == {"1.000"}
    assert sum(int(row["correct"]) for row in rows) == len(content["annotations"])
    with (output / "precision_recall.csv").open() as file:
        assert {row["precision"] for row in csv.DictReader(file)} == {"1.0000"}
    for name in ("precision_recall.png", "confusion.png"):
        assert cv2.imread(str(output / name)) is not None
    assert not (output / "worst.jpg").exists()


@pytest.mark.parametrize("tool", ["analyze_results", "draw_packages"])
def test_a_missing_package_is_named(tool, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    path = Path(analyze_results.__file__).with_name(f"{tool}.py")
    with pytest.raises(SystemExit, match=r"^error: .* needs .*: pip install matplotlib$"):
        runpy.run_path(str(path))


def test_the_worst_are_drawn_first(files, tmp_path):
    path, images, results = files
    content, entries = read_json(path), json.loads(results.read_text())
    unit, owner = ("videos", "video_id") if "videos" in content else ("images", "image_id")
    worst = entries[-1][owner]  # of which nothing is found
    results.write_text(json.dumps([entry for entry in entries if entry[owner] != worst]))
    output = tmp_path / "errors"
    arguments = ["--gt", path, "--results", results, "--output", output, "--images", images]
    assert analyze_results.main(list(map(str, arguments))) == 0
    (record,) = [x for x in content[unit] if x["id"] == worst]
    plain = cv2.imread(str(images / _first_file({unit: [record]})))
    cell = cv2.imread(str(output / "worst.jpg"))[6:246, 6:646]
    # Below the words in the corner: annotated on the left, nothing on the right.
    difference = np.abs(cv2.resize(cell, (128, 48)).astype(int) - np.hstack([plain, plain]))[14:]
    assert difference[:, 64:].mean() < 8 < difference[:, :64].mean()


def test_mistakes_are_named(files, tmp_path, fails, capsys):
    path, images, results = files
    arguments = ["--json", str(path), "--images", str(images), "--output", str(tmp_path / "x")]
    fails("no video or image 999", view_data.main, [*arguments, "--ids", "999"])
    with pytest.raises(SystemExit):
        view_data.main(arguments[2:])
    assert "give --json and --images, or --config-file" in capsys.readouterr().err
    broken = tmp_path / "broken.json"
    options = ["--results", str(broken), "--output", str(tmp_path / "y")]
    entry = json.loads(results.read_text())[0]
    for content, message in (
        ({}, "must be a list"),
        (
            [{**entry, "score": "0.9"}],
            "entry number 0 .*'score' must be a finite number, not '0.9'",
        ),
        ([None], "entry number 0 must be a mapping, got NoneType"),
    ):
        broken.write_text(json.dumps(content))
        fails(message, analyze_results.main, ["--gt", str(path), *options])
        fails(message, view_data.main, ["--json", str(path), "--images", str(images), *options])
