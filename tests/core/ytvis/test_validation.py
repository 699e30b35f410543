"""Validation names every fault, tells errors from warnings, and looks at the frames on disk."""

import cv2
import numpy as np
import pytest
from annotation_files import HEIGHT, SQUARE, WIDTH, change, make_content

from mobileinst_core.ytvis.classes import THING_CLASSES
from mobileinst_core.ytvis.validation import check_content, check_frames


@pytest.fixture
def content():
    return make_content()


def check(content):
    """Messages of the errors and of the warnings."""
    found = check_content(content)[0]
    return [[x.message for x in found if x.is_error == is_error] for is_error in (True, False)]


def test_a_good_file_has_no_findings(content):
    findings, (video,) = check_content(content)
    assert findings == []
    assert (video.id, video.length) == (70, 3)
    for nothing in (None, []):
        assert check_content({**content, "annotations": nothing})[0] == []


POLYGON, BOX = [[SQUARE, [1, 1, 2, 2]], None, None], "annotation 5 of video 70, frame"
OVIS = [{"id": i, "name": name} for i, name in enumerate(THING_CLASSES["ovis"], start=1)]


# Beyond the faults that the reader finds, see test_records.py.
@pytest.mark.parametrize(
    ("path", "value", "errors", "warnings"),
    [
        ("annotations.0.id", 0, ["the official evaluation loses tracks with an id below 1"], []),
        ("annotations.0.segmentations", [None] * 3, ["5 of video 70 is not visible in any"], [70]),
        ("annotations.0.iscrowd", 1, [], ["video 70 has no visible object that is not a crowd"]),
        ("annotations.0.segmentations", POLYGON, [], [f"{BOX} 0: a polygon of fewer than three"]),
        ("annotations.0.bboxes", [None, [1, 1, 4, 4], None], [], [f"{BOX} 1: there is a box but"]),
        ("annotations.0.bboxes", [None, [0, 0, 0, 0], None], [], []),
        ("annotations.0.bboxes", [[2, 2, 10.5, 8], None, None], [], [f"{BOX} 0: the box is [2, 2"]),
        ("annotations.0.areas", [50, 16, 480], [], [f"{BOX} 2: the area is 480, the mask has 48"]),
        ("categories.1.name", "bee", ["the name 'bee' is that of 0, 7"], []),
        ("videos.0.file_names.2", "v/0.jpg", [], ["lists frames more than once: v/0.jpg"]),
        ("categories", OVIS[:20], [], ["20 of the 25 categories of ovis"]),
        ("categories", OVIS, [], []),
        ("categories", OVIS[6:7], [], []),
    ],
)
def test_every_fault_is_found(content, path, value, errors, warnings):
    change(content, path, value)
    for found, expected in zip(check(content), (errors, warnings), strict=True):
        assert len(found) == len(expected)
        assert all(str(part) in message for message, part in zip(found, expected, strict=True))


def test_all_faults_of_one_file_are_named(content):
    track = content["annotations"][0]
    content["videos"] += [{**content["videos"][0], "id": 71, "length": 9}, {"id": 72}, "video"]
    content["annotations"] += [{**track, "id": 6, "category_id": 4, "iscrowd": 2}, {"id": 12}]
    found, _ = check(content)
    for message in (
        "video 71 has length 9 but 3 file names",
        "video 72 has no 'height', 'width', 'file_names'",
        "video at position 3 must be a mapping, got str",
        "annotation 6 has category_id 4, which is not in the categories of the annotation file "
        "(0, 7, 30)",
        "annotation 6 has iscrowd 2, which must be 0 or 1",
        "annotation 12 has no 'video_id', 'category_id', 'segmentations'",
    ):
        assert message in found
    assert len(found) == 6


@pytest.fixture
def frames(tmp_path, content):
    """Function that writes frames of the given (height, width) and finds what is wrong."""
    (tmp_path / "v").mkdir()
    video = check_content(content)[1][0]

    def find(*sizes, decode=True):
        for name, size in zip(video.file_names, sizes, strict=True):
            if size is not None:
                cv2.imwrite(str(tmp_path / name), np.zeros((*size, 3), np.uint8))
        return check_frames(video, tmp_path, decode=decode)

    return find


RIGHT, TURNED, OTHER = (HEIGHT, WIDTH), (WIDTH, HEIGHT), (HEIGHT, WIDTH + 1)


def test_missing_frames_are_one_finding(frames, tmp_path):
    (finding,) = frames(None, None, None)
    assert finding.message.startswith("video 70: none of its 3 frames exists, such as")
    assert str(tmp_path) in finding.message
    (finding,) = frames(RIGHT, None, None, decode=False)
    assert finding.is_error
    assert finding.message == "video 70: 2 of 3 frames are missing: v/5.jpg, v/10.jpg"
    assert frames(RIGHT, RIGHT, RIGHT) == []


def test_sizes_and_damage_are_seen_when_frames_are_read(frames, tmp_path):
    assert frames(TURNED, OTHER, RIGHT, decode=False) == []
    damaged = tmp_path / "v/10.jpg"
    damaged.write_bytes(damaged.read_bytes()[:100])
    other, broken, turned = frames(TURNED, OTHER, None)
    assert other.is_error
    assert "12 x 17" in other.message
    assert "5.jpg" in other.message
    assert broken.is_error
    assert "10.jpg" in broken.message
    assert not turned.is_error
    assert "1 of 3 frames have their sides swapped" in turned.message
    assert "v/0.jpg" in turned.message
