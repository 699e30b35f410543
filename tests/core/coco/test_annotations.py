"""COCO files: what is missing is computed, what is wrong is named with its remedy."""

import numpy as np
import pytest
from annotation_files import (
    ENCODINGS,
    HEIGHT,
    SQUARE,
    WIDTH,
    change,
    compressed,
    square_mask,
    uncompressed,
)
from coco_content import AREA, BOX, make_content
from pycocotools import mask as mask_util

from mobileinst_core.coco.annotations import CocoFile
from mobileinst_core.coco.records import load_ground_truth, load_records
from mobileinst_core.errors import UserError
from mobileinst_core.files import write_json


@pytest.fixture
def write(tmp_path):
    def write(content):
        write_json(tmp_path / "coco.json", content)
        return tmp_path / "coco.json"

    return write


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_records_have_everything(write, encoding):
    content = make_content(ENCODINGS[encoding]())
    records, classes = load_records(write(content), "root")
    assert classes == {7: "bee", 30: "cat"}
    assert [record["image_id"] for record in records] == [4, 9]
    assert [record["file_name"] for record in records] == ["root/a/4.jpg", "root/b/9.jpg"]
    for record, label in zip(records, (0, 1), strict=True):
        assert (record["height"], record["width"]) == (HEIGHT, WIDTH)
        (annotation,) = record["annotations"]
        segmentation = annotation.pop("segmentation")
        assert annotation == {"category_id": label, "iscrowd": 0, "bbox": BOX, "area": AREA}
        expected = [SQUARE] if encoding == "polygon" else compressed(square_mask())
        assert segmentation == expected


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("value", [KeyError, None])
@pytest.mark.parametrize("key", ["bbox", "area", "iscrowd"])
def test_missing_values_are_computed(write, encoding, key, value):
    content = make_content(ENCODINGS[encoding]())
    change(content, f"annotations.0.{key}", value)
    path = write(content)
    expected = {"bbox": BOX, "area": AREA, "iscrowd": 0}[key]
    assert load_records(path, "")[0][1]["annotations"][0][key] == expected
    truth = load_ground_truth(path, with_masks=True)
    assert [entry[key] for entry in truth["annotations"]] == [expected, expected]
    assert sorted(entry["id"] for entry in truth["annotations"]) == [5, 6]


@pytest.mark.parametrize("ids", [(0, 1), (3, 3), (None, 2), ("a", "b"), (-1, 5)])
def test_ids_that_pycocotools_loses_are_numbered_anew(write, ids, caplog):
    content = make_content()
    for entry, key in zip(content["annotations"], ids, strict=True):
        entry["id"] = key
    path = write(content)
    truth = load_ground_truth(path, with_masks=True)
    assert [entry["id"] for entry in truth["annotations"]] == [1, 2]
    assert "renumbers the annotations" in caplog.text
    assert len(load_records(path, "")[0]) == 2


MASK = "annotations.0.segmentation"


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("annotations.0.image_id", 3, "annotation 5 belongs to image 3.*add the image"),
        ("annotations.0.category_id", 1, r"annotation 5 has category_id 1.*\(7, 30\).*add"),
        ("annotations.0.iscrowd", 2, "annotation 5 has iscrowd 2"),
        ("annotations.0.bbox", [1, 2, 3], r"annotation 5 of image 9 \(b/9.jpg\).*'bbox'.*"),
        ("annotations.0.area", "big", "annotation 5 .*'big' in 'area'.*without the key"),
        (MASK, SQUARE, r"annotation 5 .*put it into another: \[\["),
        (MASK, [None], "annotation 5 .*polygon.*None"),
        (MASK, [[1, 2, 3]], "annotation 5 .*polygon"),
        (MASK, "abc", "annotation 5 .*not str"),
        (MASK, compressed(square_mask().T), r"annotation 5 .*size \[16, 12\].*\[12, 16\]"),
        (MASK, {"size": [HEIGHT, WIDTH], "counts": [3, 4]}, "annotation 5 .*do not fill"),
        ("annotations.0", None, "annotation at position 0 must be a mapping"),
        ("annotations.0.image_id", KeyError, "annotation 5 has no 'image_id'"),
        ("annotations", {"a": 1}, "list with at least one annotation"),
        ("images.1.id", 9, "image id 9 occurs more than once"),
        ("categories.1.id", 30, "category id 30 occurs more than once"),
        ("images.0.height", "12", "image 9 has height '12'"),
        ("images.0.width", KeyError, "image 9 has no 'width'"),
        ("images.0.width", 2**31, "image 9 has height x width 12 x 2147483648, more pixels"),
        ("images.0.file_name", None, "image 9 has no 'file_name'"),
        ("images", None, "list with at least one image"),
        ("images", KeyError, "has no 'images'"),
        ("categories", KeyError, "has no 'categories'"),
    ],
)
def test_faults_name_file_and_entry(write, path, value, message):
    content = make_content()
    change(content, path, value)
    with pytest.raises(UserError, match=rf"coco\.json: .*{message}.*tools/validate_data\.py"):
        load_records(write(content), "")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "a list is the format of results"),
        ({"videos": [], "categories": []}, "YouTube-VIS.*'ytvis'"),
        ({"shapes": [], "imagePath": "a.jpg"}, "LabelMe"),
    ],
)
def test_other_kinds_of_files_are_recognised(write, content, message):
    with pytest.raises(UserError, match=message):
        load_records(write(content), "")


def test_only_crowds_are_explained(write):
    content = make_content(uncompressed(square_mask()))
    for entry in content["annotations"]:
        entry["iscrowd"] = 1
    message = r'all 2 annotations have iscrowd 1.*every mask in RLE.*set "iscrowd": 0'
    with pytest.raises(UserError, match=message):
        load_records(write(content), "")
    with pytest.raises(UserError, match=message):
        load_ground_truth(write(content), with_masks=True)
    content["annotations"][0]["iscrowd"] = 0
    assert len(load_records(write(content), "")[0]) == 2


def test_polygons_of_two_points_are_left_out(write, caplog):
    content = make_content()
    content["annotations"][0]["segmentation"] = [[1, 1, 4, 4], SQUARE, []]
    records, _ = load_records(write(content), "")
    assert records[1]["annotations"][0]["segmentation"] == [SQUARE]
    assert "annotation 5 of image 9 (b/9.jpg): a polygon of fewer than three points" in caplog.text


@pytest.mark.parametrize("value", [KeyError, None, [], {}, [[1, 1, 4, 4]]])
def test_without_a_mask_the_box_counts(write, value, caplog):
    content = make_content()
    change(content, "annotations.0.segmentation", value)
    change(content, "annotations.0.area", KeyError)
    path = write(content)
    (annotation,) = load_records(path, "")[0][1]["annotations"]
    assert annotation == {"category_id": 1, "iscrowd": 0, "bbox": BOX, "area": 48}
    assert "counts for boxes alone" in caplog.text
    truth = load_ground_truth(path, with_masks=False)
    assert len(truth["annotations"]) == 2
    assert len(load_ground_truth(path, with_masks=True)["annotations"]) == 1
    change(content, "annotations.0.bbox", None)
    assert load_records(write(content), "")[0][1]["annotations"] == []


@pytest.mark.parametrize("value", [KeyError, None, []])
def test_files_without_ground_truth(write, value):
    content = make_content()
    change(content, "annotations", value)
    path = write(content)
    assert [record["annotations"] for record in load_records(path, "")[0]] == [[], []]
    assert "annotations" not in load_ground_truth(path, with_masks=True)


def test_every_fault_is_found_in_one_pass():
    content = make_content()
    content["annotations"][0]["category_id"] = 1
    content["annotations"][1]["segmentation"] = SQUARE
    content["annotations"].append({"id": 6, "image_id": 8, "category_id": 7})
    findings = []
    list(CocoFile(content, findings.append).annotations())
    assert [finding.is_error for finding in findings] == [True, False, True, True]
    for finding, text in zip(
        findings, ("5", "id 6 occurs", "image 8", "6 of image 4"), strict=True
    ):
        assert text in finding.message


def test_a_mask_without_pixels_stays_as_in_the_official_evaluation(write):
    empty = compressed(np.zeros((HEIGHT, WIDTH), np.uint8))
    path = write(make_content(empty))
    truth = load_ground_truth(path, with_masks=True)
    assert mask_util.area(truth["annotations"][0]["segmentation"]) == 0
