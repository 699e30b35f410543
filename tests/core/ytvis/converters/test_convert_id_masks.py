"""Images of object numbers: kinds of images, classes, and frames that nobody annotated."""

import numpy as np
import pytest
from pycocotools import mask as mask_util

from mobileinst_core.errors import UserError
from mobileinst_core.ytvis.converters import IdMaskVideos, build_content
from mobileinst_core.ytvis.converters.id_masks import read_id_mask
from mobileinst_core.ytvis.validation import check_content

SIZE = (12, 16)


def id_map(**boxes):
    """Numbers of objects: id_map(n1=(rows, columns)) sets a corner of that size to 1."""
    ids = np.zeros(SIZE, np.uint8)
    for name, (rows, columns) in boxes.items():
        ids[:rows, :columns] = int(name[1:])
    return ids


@pytest.fixture
def convert(tmp_path):
    def convert(**options):
        source = IdMaskVideos(tmp_path / "masks", tmp_path / "images", **options)
        content = build_content(source, source.categories)
        assert len(source) == len(content["videos"])
        assert [f for f in check_content(content)[0] if f.is_error] == []
        return content

    return convert


def areas(content):
    return [track["areas"] for track in content["annotations"]]


def test_objects_are_numbers(convert, write_frames, write_mask):
    write_frames("v", ["9.jpg", "10.jpg"])
    first, second = id_map(n7=(6, 5), n2=(3, 4)), id_map(n7=(1, 1))
    write_mask("v", "9", first)
    write_mask("v", "10", second)
    content = convert()
    (video,) = content["videos"]
    assert video["file_names"] == ["v/9.jpg", "v/10.jpg"]
    assert content["categories"] == [{"id": 1, "name": "object"}]
    assert areas(content) == [[12, None], [18, 1]]
    masks = [mask_util.decode(t["segmentations"][0]) for t in content["annotations"]]
    np.testing.assert_array_equal(masks, [first == 2, first == 7])


def encode(ids, kind):
    if kind == "16 bits":
        return ids.astype(np.uint16) * 300
    if kind in ("colour", "alpha"):
        colours = np.array([(0, 0, 0, 9), (255, 0, 0, 9), (0, 255, 0, 9), (255, 255, 255, 9)])
        return colours[ids][:, :, : 3 if kind == "colour" else 4].astype(np.uint8)
    return ids


@pytest.mark.parametrize("kind", ["P", "grey", "16 bits", "colour", "alpha"])
def test_kinds_of_images(convert, write_frames, write_mask, kind):
    write_frames("v", ["0.jpg"])
    ids = id_map(n3=(6, 5), n2=(3, 5), n1=(1, 5))
    write_mask("v", "0", encode(ids, kind), mode=kind)
    content = convert()
    assert sorted(a for (a,) in areas(content)) == [5, 10, 15]


def test_values_of_images(write_mask):
    colour = np.zeros((*SIZE, 3), np.uint8)
    colour[0, 0] = (1, 2, 3)
    assert read_id_mask(write_mask("v", "rgb", colour))[0, 0] == 1 + 2 * 256 + 3 * 65536
    deep = np.full(SIZE, 40000, np.uint16)
    assert read_id_mask(write_mask("v", "deep", deep)).max() == 40000
    assert read_id_mask(write_mask("v", "bits", id_map(n1=(2, 2)) > 0)).sum() == 4


def test_ignored_values(convert, write_frames, write_mask):
    write_frames("v", ["0.jpg"])
    ids = id_map(n255=(6, 5), n2=(3, 5), n1=(1, 5))
    write_mask("v", "0", ids)
    assert areas(convert()) == [[5], [10]]
    assert areas(convert(ignore=[2])) == [[5], [15]]
    assert areas(convert(ignore=[])) == [[5], [10], [15]]
    write_mask("v", "0", ids.astype(np.uint16))
    assert areas(convert()) == [[5], [10], [15]]


def test_white_on_black_is_explained(convert, write_frames, write_mask):
    write_frames("v", ["0.jpg"])
    write_mask("v", "0", id_map(n255=(2, 2)))
    with pytest.raises(UserError, match=r"video v hold nothing but background.*--ignore"):
        convert()
    assert areas(convert(ignore=())) == [[4]]


def test_frames_without_mask_are_left_out_or_empty(convert, write_frames, write_mask, caplog):
    write_frames("v", ["0.jpg", "1.jpg", "2.jpg"])
    write_frames("without", ["0.jpg"])
    write_mask("v", "1", id_map(n1=(2, 2)))
    content = convert()
    assert [v["file_names"] for v in content["videos"]] == [["v/1.jpg"]]
    assert "2 of 3 frames have no annotation file and are left out" in caplog.text
    assert "1 folders of images have no annotations" in caplog.text
    content = convert(keep_unannotated=True)
    assert content["videos"][0]["length"] == 3
    assert areas(content) == [[None, 4, None]]
    assert "count as frames without any object" in caplog.text


def test_folders_in_folders_and_one_folder(convert, write_frames, write_mask, tmp_path):
    for video in ("set2/v", "set10/v", "set10"):
        write_frames(video, ["0.jpg"])
        write_mask(video, "0", id_map(n1=(2, 2)))
    names = [v["file_names"][0] for v in convert()["videos"]]
    assert names == ["set2/v/0.jpg", "set10/0.jpg", "set10/v/0.jpg"]
    source = IdMaskVideos(tmp_path / "masks/set2/v", tmp_path / "images/set2/v")
    assert [video.file_names for video in source] == [["0.jpg"]]


def test_classes(convert, write_frames, write_mask, write_file):
    for video in ("a", "b"):
        write_frames(video, ["0.jpg"])
        write_mask(video, "0", id_map(n2=(6, 5), n1=(1, 5)))
    classes = {"a": {"1": "dog", "2": "cat"}, "b": {"1": "dog", "2": "dog"}}
    yaml = "classes: [cat, dog, owl]\nvideos:\n  a: {1: dog, 2: cat}\n  b: {1: dog, 2: dog}\n"
    json = {"classes": ["cat", "dog", "owl"], "videos": classes}
    for name, text in (("classes.yaml", yaml), ("classes.json", json)):
        content = convert(class_file=write_file(name, text))
        assert [entry["name"] for entry in content["categories"]] == ["cat", "dog", "owl"]
        assert [track["category_id"] for track in content["annotations"]] == [2, 1, 2, 2]


def test_one_class_needs_no_list_of_objects(convert, write_frames, write_mask, write_file):
    write_frames("v", ["0.jpg"])
    write_mask("v", "0", id_map(n1=(2, 2)))
    content = convert(class_file=write_file("classes.yaml", "classes: [cup]"))
    assert content["categories"] == [{"id": 1, "name": "cup"}]
    with pytest.raises(UserError, match="object 1 of video v has no class"):
        convert(class_file=write_file("classes.yaml", "classes: [cup, pen]"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[cat]", "mapping with the key 'classes'"),
        ("names: [cat]", "mapping with the key 'classes'"),
        ("classes: cat", "list of different names"),
        ("classes: [cat, cat]", "list of different names"),
        ("classes: []", "list of different names"),
        ("classes: [cat]\nvideos: [a]", "'videos' must map"),
        ("classes: [cat]\nvideos: {a: cat}", "video 'a' must map object ids"),
        ("classes: [cat]\nvideos: {a: {1: dog}}", "video 'a': 'dog' is not in 'classes'"),
        ("classes: [cat]\nvideos: {a: {x: cat}}", "object ids must be integers"),
        ("classes: [cat", "neither YAML nor JSON"),
    ],
)
def test_bad_files_of_classes_are_refused(convert, write_file, text, message):
    path = write_file("classes.yaml", text)
    with pytest.raises(UserError, match=rf"(?s)classes\.yaml.*{message}"):
        convert(class_file=path)


def test_missing_parts_are_named(convert, write_frames, write_mask, tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*images"):
        convert()
    write_frames("v", ["0.jpg"])
    (tmp_path / "masks").mkdir()
    with pytest.raises(UserError, match=r"there is no \*\.png in .*masks"):
        convert()
    write_mask("v", "1", id_map(n1=(2, 2)))
    with pytest.raises(UserError, match=r"no image in .*v belongs to .*v.1\.png"):
        convert()
    write_frames("v", ["1.jpg", "1.png"])
    with pytest.raises(UserError, match=r"1\.jpg and 1\.png are two images of one frame"):
        convert()
    (tmp_path / "images/v/1.png").unlink()
    write_mask("w", "0", id_map(n1=(2, 2)))
    with pytest.raises(UserError, match=r"the images of .*masks.w should lie in .*images.w"):
        convert()


def test_sizes_must_agree(convert, write_frames, write_mask):
    write_frames("v", ["0.jpg"])
    write_mask("v", "0", np.ones((16, 12), np.uint8))
    with pytest.raises(UserError, match=r"0\.png has 16 x 12 pixels.*its image has 12 x 16"):
        convert()
    write_mask("v", "0", np.ones(SIZE, np.uint8))
    write_frames("v", ["1.jpg"], size=(12, 20))
    write_mask("v", "1", np.ones((12, 20), np.uint8))
    with pytest.raises(UserError, match=r"1\.jpg has 12 x 20 .*has 12 x 16"):
        convert()


def test_damaged_files_are_named(convert, write_frames, write_mask, tmp_path):
    root = write_frames("v", ["0.jpg"])
    path = write_mask("v", "0", id_map(n1=(2, 2)))
    path.write_bytes(path.read_bytes()[:40])
    with pytest.raises(UserError, match=r"cannot read the mask .*0\.png"):
        convert()
    (root / "v/0.jpg").write_text("no image")
    with pytest.raises(UserError, match=r"cannot read the image .*0\.jpg"):
        convert()
