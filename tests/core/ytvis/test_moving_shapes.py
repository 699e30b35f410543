"""The generated data set: exact, deterministic, and with the difficulties it promises."""

import json

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_util

from mobileinst_core.ytvis.moving_shapes import DIFFICULTIES, SHAPE_CLASSES, make_moving_shapes

SMALL = {"num_val_videos": 1, "num_frames": 6, "height": 40, "width": 56}


def read(root, name="instances.json"):
    return json.loads((root / name).read_text())


def files_of(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_same_seed_gives_the_same_bytes(tmp_path):
    for folder, seed in (("a", 3), ("b", 3), ("c", 4)):
        make_moving_shapes(tmp_path / folder, num_videos=2, seed=seed, **SMALL)
    assert files_of(tmp_path / "a") == files_of(tmp_path / "b")
    assert files_of(tmp_path / "a") != files_of(tmp_path / "c")


def test_annotations_describe_the_files(moving_shapes):
    content = read(moving_shapes / "train")
    videos = {video["id"]: video for video in content["videos"]}
    assert [c["name"] for c in content["categories"]] == list(SHAPE_CLASSES)
    assert len(SHAPE_CLASSES) >= 4
    for video in videos.values():
        for name in video["file_names"]:
            image = cv2.imread(str(moving_shapes / "train" / "JPEGImages" / name))
            assert image.shape == (video["height"], video["width"], 3)
    for track in content["annotations"]:
        assert any(track["segmentations"])
        for rle, box, area in zip(
            track["segmentations"], track["bboxes"], track["areas"], strict=True
        ):
            assert (rle is None) == (box is None) == (area is None)
            if rle is not None:
                assert isinstance(rle["counts"], str)
                assert mask_util.area(rle) == area > 0
                assert mask_util.toBbox(rle).tolist() == box


def test_masks_are_where_the_shapes_are(moving_shapes):
    """Inside a mask the colours are the shape's: far from the video's background at that place."""
    content = read(moving_shapes / "train")
    track = content["annotations"][0]
    video = next(v for v in content["videos"] if v["id"] == track["video_id"])
    frame = next(t for t, rle in enumerate(track["segmentations"]) if rle)
    image = cv2.imread(str(moving_shapes / "train" / "JPEGImages" / video["file_names"][frame]))
    mask = mask_util.decode(track["segmentations"][frame])
    inside = cv2.erode(mask, np.ones((3, 3))) > 0
    around = (cv2.dilate(mask, np.ones((7, 7))) > 0) & (cv2.dilate(mask, np.ones((3, 3))) == 0)
    saturation = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)[..., 1]
    assert saturation[inside].mean() > saturation[around].mean() + 30


def test_visible_parts_are_disjoint_and_objects_leave_and_return(tmp_path):
    make_moving_shapes(tmp_path, num_videos=8, num_frames=10, height=64, width=96, seed=0)
    content = read(tmp_path / "train")
    returns = 0
    for video in content["videos"]:
        tracks = [a for a in content["annotations"] if a["video_id"] == video["id"]]
        assert 1 <= len(tracks) <= 4
        for frame in range(10):
            rles = [t["segmentations"][frame] for t in tracks if t["segmentations"][frame]]
            if rles:
                assert np.sum([mask_util.decode(rle) for rle in rles], axis=0).max() == 1
        for track in tracks:
            seen = "".join("x" if rle else "." for rle in track["segmentations"]).strip(".")
            returns += "." in seen
    assert returns >= 2
    assert {a["category_id"] for a in content["annotations"]} == {1, 2, 3, 4}


def test_coco_file_has_the_same_masks(moving_shapes):
    coco, content = (read(moving_shapes / "train", f"{x}.json") for x in ("coco", "instances"))
    names = {image["id"]: image["file_name"] for image in coco["images"]}
    frames = {video["id"]: video["file_names"] for video in content["videos"]}
    assert {*names.values()} == {name for names in frames.values() for name in names}
    expected = [
        (name, rle["counts"])
        for track in content["annotations"]
        for name, rle in zip(frames[track["video_id"]], track["segmentations"], strict=True)
        if rle
    ]
    found = [(names[x["image_id"]], x["segmentation"]["counts"]) for x in coco["annotations"]]
    assert sorted(found) == sorted(expected)


def test_hard_videos_repeat_classes_and_hide_objects_for_long(tmp_path):
    sizes = {"num_videos": 12, "num_val_videos": 1, "num_frames": 12, "height": 64, "width": 64}
    repeated, absences = {}, {}
    for difficulty in DIFFICULTIES:
        root = make_moving_shapes(tmp_path / difficulty, difficulty=difficulty, **sizes)
        tracks = read(root / "train")["annotations"]
        classes = {(track["video_id"], track["category_id"]) for track in tracks}
        repeated[difficulty] = len(tracks) - len(classes)
        seen = ["".join("x" if rle else "." for rle in t["segmentations"]) for t in tracks]
        absences[difficulty] = sum("..." in frames.strip(".") for frames in seen)
    assert repeated["hard"] > 2 * repeated["easy"]
    assert absences["hard"] > absences["easy"]


@pytest.mark.parametrize(
    "wrong", [{"num_videos": 0}, {"height": 8}, {"seed": -1}, {"difficulty": "odd"}]
)
def test_what_cannot_be_made_is_named(tmp_path, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        make_moving_shapes(tmp_path, **wrong)
