"""YouTube-VIS files to other formats, and back to the same masks."""

import copy
import json

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_util

from mobileinst_d2.data.converters import (
    CocoVideos,
    IdMaskVideos,
    build_content,
    export_coco,
    export_id_masks,
)
from mobileinst_d2.data.converters.id_masks import read_id_mask
from mobileinst_d2.utils.files import read_json
from mobileinst_d2.utils.rle import encode_mask

HEIGHT, WIDTH = 12, 16


def box(rows, columns):
    mask = np.zeros((HEIGHT, WIDTH), bool)
    mask[rows, columns] = True
    return encode_mask(mask)


@pytest.fixture
def content():
    """Two videos; in the second frame of the first, 4 of 6 and of 8 pixels are shared."""
    size = {"height": HEIGHT, "width": WIDTH, "length": 2}
    left, right = slice(0, 3), slice(1, 5)
    return {
        "videos": [
            {"id": 4, **size, "file_names": ["b/0.jpg", "b/1.jpg"]},
            {"id": 2, **size, "file_names": ["a/0.jpg", "a/1.jpg"]},
        ],
        "categories": [{"id": 5, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            {
                "id": number,
                "video_id": video,
                "category_id": category,
                "segmentations": masks,
                "iscrowd": 0,
            }
            for number, video, category, masks in [
                (9, 4, 5, [box(slice(5, 7), left), box(slice(0, 2), left)]),
                (7, 4, 3, [None, box(slice(0, 2), right)]),
                (8, 2, 3, [box(slice(0, 9), right), None]),
            ]
        ],
    }


def decoded(content):
    """Per video and class, sorted by the first file name, the masks of each track."""
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    first = {video["id"]: video["file_names"][0] for video in content["videos"]}
    return {
        (first[t["video_id"]], names[t["category_id"]], index): [
            None if rle is None else mask_util.decode(rle).tobytes() for rle in t["segmentations"]
        ]
        for index, t in enumerate(
            sorted(content["annotations"], key=lambda t: first[t["video_id"]])
        )
    }


def from_masks(masks, images):
    source = IdMaskVideos(masks, images, class_file=masks / "classes.json")
    return build_content(source, source.categories)


def test_coco_and_back(content, write_file):
    coco = export_coco(content)
    assert [image["file_name"] for image in coco["images"]] == [
        "b/0.jpg",
        "b/1.jpg",
        "a/0.jpg",
        "a/1.jpg",
    ]
    assert [(a["image_id"], a["track_id"], a["area"]) for a in coco["annotations"]] == [
        (1, 9, 6),
        (2, 9, 6),
        (2, 7, 8),
        (3, 8, 36),
    ]
    source = CocoVideos(write_file("frames.json", coco))
    assert decoded(build_content(source, source.categories)) == decoded(content)


def test_masks_and_back(content, write_frames, tmp_path):
    content["annotations"][1]["segmentations"][1] = box(slice(0, 2), slice(3, 5))
    for video in content["videos"]:
        write_frames("", video["file_names"])
    assert export_id_masks(content, tmp_path / "masks") == 0
    assert Image.open(tmp_path / "masks/b/1.png").mode == "P"
    assert read_json(tmp_path / "masks/classes.json") == {
        "classes": ["cat", "dog"],
        "videos": {"b": {"1": "dog", "2": "cat"}, "a": {"1": "cat"}},
    }
    assert decoded(from_masks(tmp_path / "masks", tmp_path / "images")) == decoded(content)


def test_overlapping_pixels_go_to_the_first_and_are_counted(content, tmp_path):
    assert export_id_masks(content, tmp_path) == 4
    ids = read_id_mask(tmp_path / "b/1.png")
    expected = np.zeros((HEIGHT, WIDTH))
    expected[:2, :3] = 1
    expected[:2, 3:5] = 2
    np.testing.assert_array_equal(ids, expected)


def test_many_objects_need_more_bits(content, write_frames, tmp_path):
    size = {"height": 20, "width": 20}
    masks = np.eye(400, dtype=bool).reshape(400, 20, 20)[:300]
    content["videos"] = [{"id": 1, **size, "length": 1, "file_names": ["v/0.jpg"]}]
    content["annotations"] = [
        {"id": n, "video_id": 1, "category_id": 3, "segmentations": [encode_mask(mask)]}
        for n, mask in enumerate(masks, start=1)
    ]
    write_frames("v", ["0.jpg"], size=(20, 20))
    export_id_masks(content, tmp_path / "masks")
    assert decoded(from_masks(tmp_path / "masks", tmp_path / "images")) == decoded(content)
    for number, mode in ((255, "I;16"), (254, "P")):
        content["annotations"] = content["annotations"][:number]
        export_id_masks(content, tmp_path / "masks")
        assert Image.open(tmp_path / "masks/v/0.png").mode == mode
        assert decoded(from_masks(tmp_path / "masks", tmp_path / "images")) == decoded(content)


def rename(video, *names):
    def damage(content):
        content["videos"][video]["file_names"] = list(names)

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (rename(1, "b/2.jpg", "b/3.jpg"), "video 2: another video has frames in the folder 'b'"),
        (rename(1, "c/2.jpg", "d/3.jpg"), "video 2 has frames in several folders: c, d"),
        (rename(1, "../2.jpg", "../3.jpg"), "video 2 has frames outside of the image root"),
        (rename(1, "/x/2.jpg", "/x/3.jpg"), "video 2 has frames outside of the image root"),
        (rename(1, "a/0.jpg", "a/0.png"), "video 2 has two frames of one name"),
        (lambda c: c["annotations"][0].update(category_id=1), "annotation 9 has category_id 1"),
    ],
)
def test_what_would_collide_is_refused_before_anything_is_written(
    content, tmp_path, damage, message
):
    content = copy.deepcopy(content)
    damage(content)
    with pytest.raises(ValueError, match=message):
        export_id_masks(content, tmp_path / "masks")
    assert not (tmp_path / "masks").exists()


def test_real_files_come_back_pixel_for_pixel(shared_data, tmp_path):
    root = shared_data("davis_vis", "valid")
    content = read_json(root / "instances.json")
    kept = {video["id"] for video in content["videos"][::3]}
    content["videos"] = [video for video in content["videos"] if video["id"] in kept]
    content["annotations"] = [a for a in content["annotations"] if a["video_id"] in kept]
    assert export_id_masks(content, tmp_path / "masks") == 0
    (tmp_path / "frames.json").write_text(json.dumps(export_coco(content)))
    source = CocoVideos(tmp_path / "frames.json")
    for result in (
        from_masks(tmp_path / "masks", root / "JPEGImages"),
        build_content(source, source.categories),
    ):
        assert decoded(result) == decoded(content)
        assert [c["name"] for c in result["categories"]] == [
            c["name"] for c in content["categories"]
        ]
