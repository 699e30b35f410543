"""The commands that split, convert and validate annotation files."""

import json

import cv2
import numpy as np
import pytest
import split_ytvis
import to_ytvis
import validate_data
import validate_ytvis
from pycocotools import mask as mask_util

from mobileinst_core.files import read_json, write_json
from mobileinst_core.ytvis.moving_shapes import make_moving_shapes


@pytest.fixture(scope="module")
def generated(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    return make_moving_shapes(
        root, num_videos=6, num_val_videos=1, num_frames=3, height=48, width=64, seed=3
    )


@pytest.fixture
def shapes(generated, tmp_path):
    """Files of a small training set: the annotations are a copy that a test may change."""
    path = tmp_path / "train.json"
    path.write_text((generated / "train" / "instances.json").read_text())
    return path, generated / "train" / "JPEGImages"


def test_split_writes_both_parts_beside_the_file(shapes, capsys):
    path, _ = shapes
    split_ytvis.main(["--json", str(path), "--val-fraction", "0.5"])
    train, val = (read_json(path.with_name(f"{part}_sub.json")) for part in ("train", "val"))
    total = read_json(path)
    assert len(train["videos"]) + len(val["videos"]) == len(total["videos"])
    assert train["categories"] == val["categories"] == total["categories"]
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[2:5]]
    assert rows[1][1:4] == [
        str(n) for n in (len(train["videos"]), 3 * len(train["videos"]), len(train["annotations"]))
    ]
    assert sum(int(row[1]) for row in rows[1:]) == int(rows[0][1]) == 6


def test_split_replaces_nothing_unless_told(shapes, tmp_path, fails):
    path, _ = shapes
    folder = tmp_path / "out"
    folder.mkdir()
    (folder / "val_sub.json").write_text("mine")
    fails(
        r"val_sub\.json exists already; --overwrite",
        split_ytvis.main,
        ["--json", str(path), "--output-dir", str(folder)],
    )
    assert [p.name for p in folder.iterdir()] == ["val_sub.json"]
    options = ["--json", str(path), "--output-dir", str(folder), "--overwrite"]
    split_ytvis.main([*options, "--max-videos", "4"])
    parts = [read_json(folder / f"{part}_sub.json") for part in ("train", "val")]
    assert sum(len(part["videos"]) for part in parts) == 4
    fails(
        "would be replaced",
        split_ytvis.main,
        ["--json", str(folder / "train_sub.json"), "--overwrite"],
    )


def test_split_names_the_file_that_it_refuses(shapes, tmp_path, fails):
    path, _ = shapes
    path.write_text(json.dumps({**read_json(path), "annotations": None}))
    fails(
        r"error: .*train\.json: there are no annotations", split_ytvis.main, ["--json", str(path)]
    )
    fails(r"nowhere\.json", split_ytvis.main, ["--json", str(tmp_path / "nowhere.json")])
    assert not list(tmp_path.glob("*_sub.json"))


def test_validate_accepts_a_good_file(shapes, capsys):
    path, images = shapes
    assert validate_ytvis.main([str(path), "--image-root", str(images), "--check-images"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{path}: 6 videos with 18 frames, 0 errors, 0 warnings"
    ]


def test_validate_groups_findings_and_fails_for_errors(shapes, capsys, tmp_path):
    path, _ = shapes
    content = read_json(path)
    content["annotations"][0]["areas"] = [9999, None, None]
    path.write_text(json.dumps(content))
    assert validate_ytvis.main([str(path)]) == 0
    first, second, total = capsys.readouterr().out.splitlines()
    assert first == "warnings, boxes and areas (1):"
    assert second.startswith("  annotation 1 of video 1, frame 0: the area is 9999")
    assert total.endswith("0 errors, 1 warnings")
    content["annotations"][1]["category_id"] = content["annotations"][2]["category_id"] = 77
    path.write_text(json.dumps(content))
    assert validate_ytvis.main([str(path), "--image-root", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "errors, annotations (2):\n  annotation 2 has category_id 77" in out
    assert "errors, frames (6):" in out
    assert out.index("errors, frames") < out.index("warnings, boxes")
    assert out.splitlines()[-1].endswith("8 errors, 1 warnings")


def test_validate_results(shapes, capsys, tmp_path):
    path, _ = shapes
    track = read_json(path)["annotations"][0]
    results = tmp_path / "results.json"
    results.write_text(json.dumps([{**track, "score": 0.5}]))
    assert validate_ytvis.main([str(path), "--results", str(results)]) == 0
    results.write_text(json.dumps([{**track, "score": None}]))
    assert validate_ytvis.main([str(path), "--results", str(results)]) == 1
    assert "errors, results (1):" in capsys.readouterr().out
    track["segmentations"][1] = {"size": [48, 64], "counts": "P"}
    results.write_text(json.dumps([{**track, "score": 0.5}]))
    assert validate_ytvis.main([str(path), "--results", str(results)]) == 1
    assert f"{results}: entry number 0 (video" in (printed := capsys.readouterr().out)
    assert "frame 1: 'counts' of a mask is not a compressed RLE" in printed


def test_validate_recognises_coco_files(generated, tmp_path, capsys):
    root, path = generated / "train", tmp_path / "coco.json"
    content = read_json(root / "coco.json")
    write_json(path, content)
    options = [str(path), "--image-root", str(root / "JPEGImages"), "--check-images"]
    assert validate_data.main(options) == 0
    out = capsys.readouterr().out
    assert "no object that is not a crowd; training leaves them out" in out
    assert out.splitlines()[-1] == f"{path}: COCO format, 18 images, 0 errors, 1 warnings"
    content["annotations"][0]["id"] = 0
    content["annotations"][1]["image_id"] = 999
    content["images"][0]["file_name"] = "gone.jpg"
    write_json(path, content)
    assert validate_data.main(options) == 1
    out = capsys.readouterr().out
    for text in ("annotation 0: pycocotools", "belongs to image 999", "gone.jpg"):
        assert text in out
    assert out.splitlines()[-1].endswith("2 errors, 2 warnings")
    assert validate_ytvis.main([str(path)]) == 1  # the former name


def test_validate_exit_codes_for_other_files(tmp_path, capsys):
    assert validate_ytvis.main([str(tmp_path / "nowhere.json")]) == 2
    assert "nowhere.json" in capsys.readouterr().err
    path = tmp_path / "half.json"
    path.write_text("{")
    assert validate_ytvis.main([str(path)]) == 1
    assert "not valid JSON" in capsys.readouterr().out
    with pytest.raises(SystemExit) as caught:
        validate_ytvis.main([str(path), "--check-images"])
    assert caught.value.code == 2


def write_masks(content, folder):
    """Images of object numbers and their class file, as people annotate them."""
    names = {category["id"]: category["name"] for category in content["categories"]}
    classes = {"classes": list(names.values()), "videos": {}}
    for video in content["videos"]:
        tracks = [t for t in content["annotations"] if t["video_id"] == video["id"]]
        for frame, name in enumerate(video["file_names"]):
            ids = np.zeros((video["height"], video["width"]), np.uint8)
            for number, track in enumerate(tracks, 1):
                if track["segmentations"][frame] is not None:
                    ids[mask_util.decode(track["segmentations"][frame]) > 0] = number
            path = (folder / name).with_suffix(".png")
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), ids)
        classes["videos"][path.parent.name] = {
            str(number): names[track["category_id"]] for number, track in enumerate(tracks, 1)
        }
    write_json(folder / "classes.json", classes)


def write_coco(content, path):
    """A COCO file of the frames, whose annotations name their objects."""
    images, annotations = {}, []
    for video in content["videos"]:
        for frame, name in enumerate(video["file_names"]):
            ids = {"id": len(images) + 1, "video_id": video["id"], "frame_id": frame}
            size = {"height": video["height"], "width": video["width"]}
            images[video["id"], frame] = {"file_name": name, **ids, **size}
    for track in content["annotations"]:
        for frame, rle in enumerate(track["segmentations"]):
            if rle is not None:
                image_id = images[track["video_id"], frame]["id"]
                ids = {"id": len(annotations) + 1, "image_id": image_id, "track_id": track["id"]}
                mask = {"category_id": track["category_id"], "segmentation": rle}
                annotations.append(ids | mask)
    rest = {"categories": content["categories"], "annotations": annotations}
    write_json(path, {"images": list(images.values()), **rest})


def test_masks_and_coco_files_become_the_same_tracks(shapes, tmp_path, capsys):
    path, images = shapes
    masks, frames = tmp_path / "masks", tmp_path / "frames.json"
    content = read_json(path)
    write_masks(content, masks)
    write_coco(content, frames)
    outputs = [tmp_path / "from_masks.json", tmp_path / "from_coco.json"]
    inputs = (
        ["masks", "--masks", masks, "--images", images, "--categories", masks / "classes.json"],
        ["coco", "--json", frames],
    )
    for arguments, output in zip(inputs, outputs, strict=True):
        to_ytvis.main([*map(str, arguments), "--output", str(output)])
        assert validate_ytvis.main([str(output), "--image-root", str(images)]) == 0
    expected = content["annotations"]
    for output in outputs:
        tracks = read_json(output)["annotations"]
        for key in ("segmentations", "areas", "bboxes", "category_id", "video_id"):
            assert [t[key] for t in tracks] == [t[key] for t in expected]
    assert "from_coco.json: 6 videos with 18 frames" in capsys.readouterr().out


def test_labelme_and_its_options(tmp_path, generated, fails):
    folder = generated / "train" / "JPEGImages"
    first = sorted(folder.iterdir())[0]
    video = tmp_path / "images" / "v"
    video.mkdir(parents=True)
    for frame in sorted(first.iterdir())[:2]:
        (video / frame.name).write_bytes(frame.read_bytes())
    shape = {"label": "cup", "points": [[1, 1], [9, 9]], "shape_type": "rectangle"}
    (video / "00000.json").write_text(json.dumps({"shapes": [shape]}))
    arguments = ["labelme", "--images", str(tmp_path / "images"), "--output"]
    output = tmp_path / "out.json"
    to_ytvis.main([*arguments, str(output)])
    assert read_json(output)["videos"][0]["length"] == 1
    fails(r"out\.json exists already; --overwrite", to_ytvis.main, [*arguments, str(output)])
    to_ytvis.main([*arguments, str(output), "--overwrite", "--keep-unannotated"])
    assert read_json(output)["annotations"][0]["areas"] == [64, None]
    before = output.read_text()
    (video / "00000.json").write_text("[]")
    fails(
        r"error: .*00000\.json is not a file of LabelMe",
        to_ytvis.main,
        [*arguments, str(output), "--overwrite"],
    )
    assert output.read_text() == before
