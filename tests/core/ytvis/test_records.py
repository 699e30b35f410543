"""Reading YouTube-VIS files: three encodings, odd ids, and errors that say what is wrong."""

import json
import logging
import re

import numpy as np
import pytest
from annotation_files import (
    ENCODINGS,
    HEIGHT,
    SQUARE,
    WIDTH,
    change,
    compressed,
    make_content,
    square_mask,
)
from pycocotools import mask as mask_util

from mobileinst_core.errors import UserError
from mobileinst_core.ytvis.records import load_records
from mobileinst_core.ytvis.validation import check_content


@pytest.fixture
def content():
    return make_content()


def load(write_json, content):
    return load_records(write_json(content), "images")[0]


def test_all_encodings_give_the_same_mask_also_within_a_track(write_json, content):
    content["annotations"][0]["segmentations"] = [make() for make in ENCODINGS.values()]
    (record,) = load(write_json, content)
    assert record["tracks"][0]["areas"] == [48, 48, 48]
    for rle in record["tracks"][0]["segmentations"]:
        np.testing.assert_array_equal(mask_util.decode(rle), square_mask())


@pytest.mark.parametrize(
    "nothing",
    [
        None,
        [],
        {},
        [[1, 1, 5, 5]],
        compressed(np.zeros((HEIGHT, WIDTH), np.uint8)),
        {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]},
    ],
    ids=["null", "list", "mapping", "two points", "empty RLE", "empty uncompressed RLE"],
)
def test_every_way_to_write_nothing_is_invisible(write_json, content, nothing):
    track = content["annotations"][0]
    track["segmentations"][2] = nothing
    track["bboxes"] = [[2, 2, 8, 6], None, [0, 0, 0, 0]]
    (record,) = load(write_json, content)
    loaded = record["tracks"][0]
    assert loaded["segmentations"][1:] == [None, None]
    assert loaded["bboxes"] == [[2, 2, 8, 6], None, None]


def test_degenerate_polygons_are_dropped_and_counted(write_json, content, caplog):
    content["annotations"][0]["segmentations"] = [[SQUARE, [1, 1, 3, 3]], None, None]
    with caplog.at_level(logging.WARNING):
        (record,) = load(write_json, content)
    rle = record["tracks"][0]["segmentations"][0]
    np.testing.assert_array_equal(mask_util.decode(rle), square_mask())
    assert "1 polygon" in caplog.text


def test_record(write_json, content):
    (record,), classes = load_records(write_json(content), "images")
    assert {k: v for k, v in record.items() if k != "tracks"} == {
        "video_id": 70,
        "height": HEIGHT,
        "width": WIDTH,
        "length": 3,
        "file_names": ["images/v/0.jpg", "images/v/5.jpg", "images/v/10.jpg"],
    }
    assert list(classes.items()) == [(0, "ant"), (7, "bee"), (30, "cat")]
    (track,) = record["tracks"]
    assert (track["id"], track["category_id"], track["iscrowd"]) == (5, 1, 0)
    assert track["areas"] == [48, None, 48]
    assert track["bboxes"] == [[2, 2, 8, 6], None, [2, 2, 8, 6]]


def test_given_boxes_areas_and_crowd_are_kept(write_json, content):
    content["annotations"][0].update(bboxes=[[1, 2, 3, 4], None, None], areas=[9, 9, 9], iscrowd=1)
    (record,) = load(write_json, content)
    (track,) = record["tracks"]
    assert track["iscrowd"] == 1
    assert track["areas"] == [9, None, 9]
    assert track["bboxes"] == [[1, 2, 3, 4], None, [2, 2, 8, 6]]


@pytest.mark.parametrize("annotations", ["absent", None, []])
def test_no_ground_truth(write_json, content, annotations):
    content["annotations"] = annotations
    if annotations == "absent":
        del content["annotations"]
    (record,) = load(write_json, content)
    assert record["tracks"] is None


def test_videos_without_tracks_are_kept(write_json, content):
    content["videos"].append({**content["videos"][0], "id": 3})
    first, second = load(write_json, content)
    assert [first["video_id"], second["video_id"]] == [70, 3]
    assert second["tracks"] == []


TRACK, ENTRY = "annotations.0", "annotation 5 of video 70"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("videos.0.length", 4, "video 70 has length 4 but 3 file names"),
        ("videos.0.file_names", KeyError, "video 70 has no 'file_names'"),
        ("videos.0.file_names.1", None, "video 70: 'file_names' must be a list of file names"),
        ("videos.0.id", True, "video ids must be integers, got True"),
        ("videos.0.height", "12", "video 70 has height '12'"),
        ("videos.0.width", 0, "video 70 has width 0"),
        ("videos", 2 * make_content()["videos"], "video id 70 occurs more than once"),
        ("categories", KeyError, "no 'categories'"),
        ("categories.0.id", 7, "category id 7 occurs more than once"),
        ("categories.0.name", KeyError, "category 30 has no 'name'"),
        ("categories.1.name", 3, "category 0 has the name 3"),
        ("annotations", {"5": {}}, "a list with at least one annotation"),
        ("annotations", 2 * make_content()["annotations"], "annotation id 5 occurs more than once"),
        (TRACK, None, "annotation at position 0 must be a mapping, got NoneType"),
        (f"{TRACK}.id", "five", "annotation ids must be integers, got 'five'"),
        (f"{TRACK}.iscrowd", "no", "annotation 5 has iscrowd 'no'"),
        (f"{TRACK}.category_id", 8, "annotation 5 has category_id 8"),
        (f"{TRACK}.video_id", 71, "annotation 5 belongs to video 71"),
        (f"{TRACK}.video_id", [70], r"annotation 5 belongs to video \[70\]"),
        (f"{TRACK}.segmentations", KeyError, "annotation 5 has no 'segmentations'"),
        (f"{TRACK}.segmentations.2", KeyError, f"{ENTRY}.*3 frames but 'segmentations' has 2"),
        (f"{TRACK}.segmentations.2.size", [WIDTH, HEIGHT], f"{ENTRY}, frame 2.*size"),
        (f"{TRACK}.segmentations.2.counts", [3, 4], f"{ENTRY}, frame 2"),
        (f"{TRACK}.segmentations.0", "mask.png", f"{ENTRY}, frame 0.*str"),
        (f"{TRACK}.areas", [1], f"{ENTRY}.*3 frames but 'areas' has 1"),
        (f"{TRACK}.areas", ["48", None, None], f"{ENTRY}, frame 0: '48' in 'areas'"),
        (f"{TRACK}.bboxes", [[1, 2, 3], None, None], rf"{ENTRY}, frame 0: \[1, 2, 3\] in 'bboxes'"),
    ],
)
def test_inconsistent_files_are_refused_and_validation_agrees(
    write_json, content, path, value, message
):
    change(content, path, value)
    findings, _ = check_content(content)
    assert any(f.is_error and re.search(message, f.message) for f in findings)
    with pytest.raises(UserError, match=rf"instances\.json: .*{message}"):
        load(write_json, content)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"videos": {"0a1b": {"objects": {"1": {"category": "dog"}}}}}, "YouTube-VOS"),
        ({"images": [], "categories": [], "annotations": []}, "COCO"),
        ({"images": [], "videos": [], "categories": []}, "CocoVID.*original"),
        ([{"video_id": 1, "score": 0.5}], "results"),
        ({}, "no 'videos', 'categories'"),
    ],
    ids=["vos", "coco", "cocovid", "results", "empty"],
)
def test_files_of_another_kind_are_recognised(write_json, wrong, message):
    (finding,), _ = check_content(wrong)
    assert finding.group == "kind of file"
    with pytest.raises(UserError, match=message):
        load(write_json, wrong)


def test_windows_wrote_the_file(tmp_path):
    content = make_content()
    content["videos"][0]["file_names"] = ["v\\0.jpg", "v\\5.jpg", "v\\10.jpg"]
    (tmp_path / "a.json").write_text(json.dumps(content), encoding="utf-8-sig")
    ((record,), _) = load_records(tmp_path / "a.json", "root")
    assert record["file_names"] == ["root/v/0.jpg", "root/v/5.jpg", "root/v/10.jpg"]


def test_real_videos(shared_data):
    root = shared_data("davis_vis", "train")
    records, classes = load_records(root / "instances.json", root / "JPEGImages")
    content = json.loads((root / "instances.json").read_text())
    assert classes == {entry["id"]: entry["name"] for entry in content["categories"]}
    assert sum(len(r["tracks"]) for r in records) == len(content["annotations"])
    areas = {a["id"]: a["areas"] for a in content["annotations"]}
    for record in records:
        for track in record["tracks"]:
            masks = track["segmentations"]
            found = [None if rle is None else int(mask_util.area(rle)) for rle in masks]
            assert found == areas[track["id"]]
