"""LabelMe files: shapes to masks, labels and groups to objects."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as mask_util

from mobileinst_core.errors import UserError
from mobileinst_core.ytvis.converters import LabelmeVideos, build_content
from mobileinst_core.ytvis.validation import check_content

HEIGHT, WIDTH = 40, 60
BOX = [[10, 10], [30, 20]]
BOX_AREA = 200


def shape(label="dog", points=BOX, kind="rectangle", group=None, **changes):
    return {"label": label, "points": points, "shape_type": kind, "group_id": group, **changes}


def encoded(mask):
    buffer = io.BytesIO()
    Image.fromarray(mask).save(buffer, format="png")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.fixture
def annotate(write_frames, write_file):
    """Function that writes one frame per list of shapes, with its LabelMe file if not None."""

    def annotate(*frames, video="v", **changes):
        for number, shapes in enumerate(frames):
            write_frames(video, [f"{number}.jpg"], size=(HEIGHT, WIDTH))
            content = {
                "version": "5.5.0",
                "shapes": shapes,
                "imagePath": f"{number}.jpg",
                "imageHeight": HEIGHT,
                "imageWidth": WIDTH,
                **changes,
            }
            if shapes is not None:
                write_file(f"images/{video}/{number}.json", content)

    return annotate


@pytest.fixture
def convert(tmp_path):
    def convert(**options):
        source = LabelmeVideos(tmp_path / "images", **options)
        content = build_content(source, source.categories)
        assert len(source) == len(content["videos"])
        assert [f for f in check_content(content)[0] if f.is_error] == []
        return content

    return convert


def summary(content):
    """(class name, areas) of every track."""
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    return [(names[t["category_id"]], t["areas"]) for t in content["annotations"]]


def only_mask(content):
    (track,) = content["annotations"]
    (rle,) = track["segmentations"]
    return mask_util.decode(rle).astype(bool)


@pytest.mark.parametrize(
    ("frames", "tracks"),
    [
        (
            [[("dog", 1), ("dog", 2), ("cat", 1)], [("cat", 1), ("dog", 2)]],
            [("dog", [200, None]), ("dog", [200, 200]), ("cat", [200, 200])],
        ),
        # A number at the end of a label is an object, unless there is a group.
        *(
            (
                [[(f"a dog{s}1", None), (f"a dog{s}12", None)], [(f"a dog{s}12", None)]],
                [("a dog", [200, None]), ("a dog", [200, 200])],
            )
            for s in ("-", "_", " ", "#", " #")
        ),
        ([[("type-2", 1)]], [("type-2", [200])]),
        ([[("dog", None)], [], [("dog", None)]], [("dog", [200, None, 200])]),
    ],
)
def test_groups_numbers_and_labels_are_objects(annotate, convert, frames, tracks):
    annotate(*([shape(label, group=group) for label, group in shapes] for shapes in frames))
    content = convert()
    assert sorted(summary(content), key=str) == sorted(tracks, key=str)
    names = [entry["name"] for entry in content["categories"]]
    assert names == sorted({label for label, _ in tracks})


def test_labels_of_the_list_of_classes_are_not_taken_apart(annotate, convert, write_file):
    annotate([shape("type-2"), shape("type-1"), shape("dog-4")])
    classes = write_file("classes.yaml", "classes: [owl, type-1, type-2, dog]")
    content = convert(class_file=classes)
    assert [t["category_id"] for t in content["annotations"]] == [3, 2, 4]
    assert content["categories"][0] == {"id": 1, "name": "owl"}


def test_videos_do_not_share_objects(annotate, convert):
    annotate([shape()])
    annotate([shape()], video="w")
    assert summary(convert()) == 2 * [("dog", [BOX_AREA])]


def test_parts_of_an_object_are_united(annotate, convert):
    annotate([shape(group=1), shape(points=[[20, 10], [40, 20]], group=1)])
    assert summary(convert()) == [("dog", [300])]


def test_polygon_and_rectangle_are_the_same_area(annotate, convert):
    expected = np.zeros((HEIGHT, WIDTH), bool)
    expected[10:20, 10:30] = True
    corners = [[10, 10], [30, 10], [30, 20], [10, 20]]
    for kind, points in (
        ("rectangle", BOX),
        ("rectangle", BOX[::-1]),
        ("rectangle", [[10, 20], [30, 10]]),
        ("rectangle", corners),
        ("oriented_rectangle", corners),
        ("polygon", corners),
        (None, corners),
    ):
        annotate([shape(kind=kind, points=points)])
        np.testing.assert_array_equal(only_mask(convert()), expected)


def test_a_circle_is_given_by_its_centre_and_a_point_on_it(annotate, convert):
    annotate([shape(kind="circle", points=[[30, 20], [30, 8]])])
    mask = only_mask(convert())
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    distance = np.hypot(rows - 20, columns - 30)
    assert mask[distance < 11].all()
    assert not mask[distance > 13].any()


@pytest.mark.parametrize("dtype", [bool, np.uint8])
def test_a_mask_lies_at_its_first_point(annotate, convert, dtype):
    part = np.zeros((6, 9), dtype)
    part[1:, 2:] = 1
    annotate([shape(kind="mask", points=[[20, 30], [28, 35]], mask=encoded(part))])
    mask = only_mask(convert())
    np.testing.assert_array_equal(mask[30:36, 20:29], part.astype(bool))
    assert mask.sum() == part.sum()


def test_frames_without_file_are_left_out_or_empty(annotate, convert):
    annotate([shape()], None, [shape()])
    assert summary(convert()) == [("dog", [BOX_AREA, BOX_AREA])]
    assert summary(convert(keep_unannotated=True)) == [("dog", [BOX_AREA, None, BOX_AREA])]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (shape(), "a second 'dog' in this frame.*group_id"),
        (shape(label=""), "the label is ''"),
        ("dog", "the label is None"),
        (shape(group="a"), "the group_id is 'a'"),
        (shape("cat", points=[]), "'points' must be a list of pairs"),
        (shape("cat", points=[[1, 2], [3]]), "'points' must be a list of pairs"),
        (shape("cat", points=[[1, 2]]), "a rectangle of 1 points has no area"),
        (shape("cat", kind="polygon"), "a polygon of 2 points has no area"),
        (shape("cat", kind="line"), "type 'line' with 2 points has no area"),
        (shape("cat", kind="circle", points=[[1, 2]]), "type 'circle' with 1 points"),
        (shape("cat", kind="mask"), "'mask' is no image in base64"),
        (shape("cat", kind="mask", mask="AAAA"), "'mask' is no image in base64"),
        (
            shape("cat", kind="mask", points=[[50, 0]], mask=encoded(np.ones((5, 20), bool))),
            r"'mask' of shape \(5, 20\) at x 50, y 0 leaves the image",
        ),
        (
            shape("cat", kind="mask", points=[[-1, 0]], mask=encoded(np.ones((5, 20), bool))),
            "leaves the image",
        ),
    ],
)
def test_bad_shapes_are_named(annotate, convert, bad, message):
    annotate([shape("fox")], [shape(), bad])
    with pytest.raises(UserError, match=rf"1\.json, shape 1: .*{message}"):
        convert()


def test_bad_files_are_named(annotate, convert, write_file):
    annotate([shape()])
    with pytest.raises(UserError, match=r"0\.json, shape 0: the class 'dog' is not in the list"):
        convert(class_file=write_file("classes.yaml", "classes: [cat]"))
    annotate([shape()], imageHeight=41)
    with pytest.raises(UserError, match=r"0\.json is for an image of 41 x 60.*has 40 x 60"):
        convert()
    write_file("images/v/0.json", {"annotations": []})
    with pytest.raises(UserError, match=r"0\.json is not a file of LabelMe"):
        convert()
    write_file("images/v/0.json", "{")
    with pytest.raises(UserError, match=r"0\.json is not valid JSON"):
        convert()
