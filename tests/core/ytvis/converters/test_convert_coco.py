"""COCO files of frames: which images form a video, and which annotations an object."""

import pytest
from annotation_files import ENCODINGS, HEIGHT, WIDTH, change

from mobileinst_core.errors import UserError
from mobileinst_core.ytvis.converters import CocoVideos, build_content
from mobileinst_core.ytvis.validation import check_content


def image(number, name, **changes):
    return {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH, **changes}


def annotation(number, image_id, **changes):
    entry = {"id": number, "image_id": image_id, "category_id": 3, "track_id": 1}
    return {**entry, "segmentation": ENCODINGS["compressed"](), **changes}


FRAMES_OF_ONE_ID = [image(i, f"b/{i}.jpg", video_id=1, frame_id=4) for i in (1, 2)]


@pytest.fixture
def coco():
    """Two folders with two frames each; the second frame of "b" shows nothing."""
    return {
        "images": [
            image(1, "b/0.jpg"),
            image(2, "a/10.jpg"),
            image(3, "a/9.jpg"),
            image(4, "b/1.jpg"),
        ],
        "categories": [{"id": 8, "name": "dog"}, {"id": 3, "name": "cat"}],
        "annotations": [
            annotation(1, 2),
            annotation(2, 3),
            annotation(3, 3, track_id=7, category_id=8),
            annotation(4, 1, iscrowd=1, track_id=9),
        ],
    }


@pytest.fixture
def convert(write_file):
    def convert(content, **options):
        source = CocoVideos(write_file("frames.json", content), **options)
        result = build_content(source, source.categories)
        assert len(source) == len(result["videos"])
        return result

    return convert


def test_folders_are_videos_and_names_give_the_order(convert, coco):
    content = convert(coco)
    assert not any(finding.is_error for finding in check_content(content)[0])
    assert content["videos"] == [
        {"id": 1, "height": 12, "width": 16, "length": 2, "file_names": ["b/0.jpg", "b/1.jpg"]},
        {"id": 2, "height": 12, "width": 16, "length": 2, "file_names": ["a/9.jpg", "a/10.jpg"]},
    ]
    assert content["categories"] == coco["categories"]
    found = [
        (t["id"], t["video_id"], t["category_id"], t["iscrowd"], t["areas"])
        for t in content["annotations"]
    ]
    assert found == [(1, 1, 3, 1, [48, None]), (2, 2, 3, 0, [48, 48]), (3, 2, 8, 0, [48, None])]
    assert content["annotations"][0]["bboxes"] == [[2, 2, 8, 6], None]


def test_video_and_frame_ids_go_before_names(convert, coco):
    for entry, (video, frame) in zip(coco["images"], [(5, 2), (5, 1), (6, 1), (5, 0)], strict=True):
        entry.update(video_id=video, frame_id=frame)
    content = convert(coco)
    assert [v["file_names"] for v in content["videos"]] == [
        ["b/1.jpg", "a/10.jpg", "b/0.jpg"],
        ["a/9.jpg"],
    ]


def test_video_ids_without_frame_ids(convert, coco):
    for entry in coco["images"]:
        entry["video_id"] = 1
        entry["file_name"] = entry["file_name"].replace("/", "_")
    (video,) = convert(coco)["videos"]
    assert video["file_names"] == ["a_9.jpg", "a_10.jpg", "b_0.jpg", "b_1.jpg"]


@pytest.mark.parametrize(
    ("move", "options"),
    [
        (lambda e, v: e.update(instance_id=v), {}),
        (lambda e, v: e.update(attributes={"occluded": False, "track_id": v}), {}),
        (lambda e, v: e.update(instance_id=v, obj=3, track_id=None), {}),
        (lambda e, v: e.update(obj=v, instance_id=1), {"track_key": "obj"}),
        (lambda e, v: e.update(attributes={"obj": f"n{v}"}, track_id=1), {"track_key": "obj"}),
    ],
    ids=["instance_id", "CVAT", "null", "given key", "text in attributes"],
)
def test_keys_of_the_identity(convert, coco, move, options):
    expected = convert(coco)
    for entry in coco["annotations"]:
        move(entry, entry.pop("track_id"))
    assert convert(coco, **options) == expected


def test_empty_masks_are_invisible_and_such_objects_left_out(convert, coco, caplog):
    coco["annotations"][0]["segmentation"] = []
    coco["annotations"][2]["segmentation"] = [[1, 1, 2, 2]]
    content = convert(coco)
    assert [t["areas"] for t in content["annotations"]] == [[48, None], [48, None]]
    assert "1 objects without any visible pixel" in caplog.text


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("images", KeyError, "a COCO file has no 'images'"),
        ("images", [], "at least one image"),
        ("images.1.height", KeyError, "image 2 has no 'height'"),
        ("images.1.width", 0, "image 2 must have a 'height' and a 'width'"),
        ("images.1.width", 17, r"image 2 \(a/10.jpg\) has another size than image 3"),
        ("images.1.file_name", None, "image 2 has the file name None"),
        ("images.1.id", 1, "image id 1 occurs more than once"),
        ("images.0.video_id", 1, "image 2 has no 'video_id', but others have"),
        ("images", [image(1, "b/0.jpg", video_id="x")], "video_id 'x', no integer"),
        ("images", FRAMES_OF_ONE_ID, "images 1 and 2 of one video have the same frame_id 4"),
        ("annotations.1.track_id", KeyError, "annotation 2 does not say .*--track-key"),
        ("annotations.1.track_id", True, "annotation 2 does not say"),
        ("annotations.1.segmentation", KeyError, "annotation 2 has no 'segmentation'"),
        ("annotations.1.segmentation", "x", "annotation 2: a mask must be"),
        ("annotations.1.image_id", 9, "annotation 2 has the unknown image_id 9"),
        ("annotations.1.image_id", 2, "annotation 2 is a second mask of object 1 in image 2"),
        ("annotations.1.category_id", 9, "annotation 2 has the unknown category_id 9"),
        ("annotations.1.iscrowd", "x", "annotation 2 has iscrowd 'x'"),
        ("annotations.0.category_id", 8, "annotation 1 of object 1 is 'dog'.*'cat'"),
        ("annotations.0.iscrowd", 1, "annotation 1 of object 1 is.*iscrowd 1.*iscrowd 0"),
        ("categories.0.name", "cat", "several categories have the name 'cat'"),
    ],
)
def test_bad_input_is_named(convert, coco, path, value, message):
    change(coco, path, value)
    with pytest.raises(UserError, match=rf"frames\.json: .*{message}"):
        convert(coco)
