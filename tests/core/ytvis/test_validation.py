"""Validation names every fault, tells errors from warnings, and looks at the frames on disk."""

import copy

import cv2
import numpy as np
import pytest
from annotation_files import HEIGHT, SQUARE, WIDTH, compressed, make_content
from PIL import Image

from mobileinst_core.files import read_json
from mobileinst_core.ytvis.classes import THING_CLASSES
from mobileinst_core.ytvis.validation import check_content, check_frames


@pytest.fixture
def content():
    return make_content()


def errors(content):
    return [f.message for f in check_content(content)[0] if f.is_error]


def warnings(content):
    return [f.message for f in check_content(content)[0] if not f.is_error]


def test_a_good_file_has_no_findings(content):
    findings, (video,) = check_content(content)
    assert findings == []
    assert (video.id, video.length) == (70, 3)


@pytest.mark.parametrize("annotations", [None, []])
def test_no_ground_truth_is_no_fault(content, annotations):
    content["annotations"] = annotations
    assert check_content(content)[0] == []


def test_all_faults_of_one_file_are_named(content):
    good = content["annotations"][0]
    video = {**content["videos"][0], "id": 71, "length": 9}
    content["videos"] += [video, {"id": 72}, {**video, "id": 70}, "video"]
    content["categories"].append({"id": 8, "name": "bee"})

    def track(number, **changes):
        return {**copy.deepcopy(good), "id": number, **changes}

    wrong_size = compressed(np.ones((WIDTH, HEIGHT), np.uint8))
    cut = {"size": [HEIGHT, WIDTH], "counts": good["segmentations"][0]["counts"][:-2]}
    content["annotations"] += [
        track(0),
        track(5),
        track(6, category_id=4),
        track(7, video_id=99),
        track(8, segmentations=[wrong_size, cut]),
        track(9, segmentations=[None] * 3),
        track(10, iscrowd=2, category_id=5),
        track(11, areas=[48, None, "x"], bboxes=[1]),
        {"id": 12},
    ]
    found = errors(content)
    for message in (
        "video 71 has length 9 but 3 file names",
        "video 72 has no 'height', 'width', 'file_names'",
        "the video id 70 occurs more than once",
        "video at position 4 must be a mapping, got str",
        "the name 'bee' is that of 7, 8",
        "annotation 0 of video 70: the official evaluation loses tracks with an id below 1",
        "the annotation id 5 occurs more than once",
        "annotation 6 has category_id 4, which is not in the categories of the annotation file "
        "(0, 7, 8, 30)",
        "annotation 7 belongs to video 99, which is missing in the annotation file",
        "annotation 8 of video 70: the video has 3 frames but 'segmentations' has 2 entries",
        "annotation 9 of video 70 is not visible in any frame, but counts as missed in evaluation",
        "annotation 10 has category_id 5, which is not in the categories of the annotation file "
        "(0, 7, 8, 30)",
        "annotation 10 has iscrowd 2, which must be 0 or 1",
        "annotation 11 of video 70, frame 2: 'x' in 'areas'",
        "annotation 11 of video 70: the video has 3 frames but 'bboxes' has 1 entries",
        "annotation 12 has no 'video_id', 'category_id', 'segmentations'",
    ):
        assert message in found
    for start in (
        "annotation 8 of video 70, frame 0: a mask has size [16, 12]",
        "annotation 8 of video 70, frame 1: the RLE",
    ):
        assert [message for message in found if message.startswith(start)]
    assert len(found) == 18


def test_a_video_that_cannot_be_used_is_not_missing(content):
    content["videos"][0]["height"] = None
    assert errors(content) == ["video 70 has height None, no positive integer"]


def test_degenerate_polygons_are_warnings(content):
    content["annotations"][0]["segmentations"] = [[SQUARE, [1, 1, 2, 2]], [[1, 1]], None]
    assert errors(content) == []
    assert warnings(content) == [
        f"annotation 5 of video 70, frame {frame}: a polygon of fewer than three points, which is "
        "left out"
        for frame in (0, 1)
    ]


def test_boxes_and_areas_are_compared_with_the_masks(content):
    track = content["annotations"][0]
    track["bboxes"] = [[2, 2, 8, 6], [1, 1, 4, 4], [2, 2, 10, 8]]  # the last has two corners
    track["areas"] = [50, 16, 480]
    assert errors(content) == []
    assert warnings(content) == [
        "annotation 5 of video 70, frame 1: there is a box but no mask; the object counts as not "
        "visible",
        "annotation 5 of video 70, frame 2: the area is 480, the mask has 48 pixels",
    ]
    track["bboxes"] = [[2, 2, 10.5, 8], [0, 0, 0, 0], None]
    track["areas"] = None
    (message,) = warnings(content)
    assert message == (
        "annotation 5 of video 70, frame 0: the box is [2, 2, 10.5, 8], that of the mask "
        "[2.0, 2.0, 8.0, 6.0] (x, y, w, h)"
    )


def test_videos_that_training_leaves_out(content):
    content["videos"] += [{**content["videos"][0], "id": i} for i in (71, 72)]
    crowd = {**content["annotations"][0], "id": 6, "video_id": 71, "iscrowd": 1}
    content["annotations"].append(crowd)
    assert errors(content) == []
    assert warnings(content) == [
        f"video {i} has no visible object that is not a crowd; training leaves it out"
        for i in (71, 72)
    ]


def test_repeated_frames(content):
    content["videos"][0]["file_names"][2] = "v/0.jpg"
    assert warnings(content) == ["video 70 lists frames more than once: v/0.jpg"]


def test_a_part_of_a_published_list_of_classes(content):
    whole = [{"id": i, "name": n} for i, n in enumerate(THING_CLASSES["ovis"], start=1)]
    content["categories"] = whole
    content["annotations"][0]["category_id"] = 1
    assert check_content(content)[0] == []
    content["categories"] = whole[:20]
    (message,) = warnings(content)
    assert "20 of the 25 categories of ovis" in message
    content["categories"] = whole[:1]
    assert warnings(content) == []


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


def test_frames_on_disk(frames):
    assert frames(RIGHT, RIGHT, RIGHT) == []


def test_missing_frames_are_all_named(frames):
    (finding,) = frames(RIGHT, None, None, decode=False)
    assert finding.is_error
    assert finding.message == "video 70: 2 of 3 frames are missing: v/5.jpg, v/10.jpg"


def test_a_wrong_image_root_is_one_finding(frames, tmp_path):
    (finding,) = frames(None, None, None)
    assert finding.message.startswith("video 70: none of its 3 frames exists, such as")
    assert str(tmp_path) in finding.message


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


def test_orientation_is_taken_from_the_file_as_the_loader_does(frames, tmp_path):
    frames(RIGHT, RIGHT, RIGHT)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    Image.new("RGB", (HEIGHT, WIDTH)).save(tmp_path / "v/0.jpg", exif=exif)
    assert frames(None, None, None) == []


def test_real_files_have_no_faults(shared_data):
    for split in ("train", "valid"):
        root = shared_data("davis_vis", split)
        findings, videos = check_content(read_json(root / "instances.json"))
        assert findings == []
        for video in videos[:2]:
            assert check_frames(video, root / "JPEGImages", decode=True) == []
