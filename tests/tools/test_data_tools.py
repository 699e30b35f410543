"""The commands that split, convert and validate annotation files."""

import json

import pytest
import split_ytvis
import to_ytvis
import validate_data
import validate_ytvis

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
    track, results = read_json(path)["annotations"][0], tmp_path / "results.json"
    track["segmentations"][1] = {"size": [48, 64], "counts": "P"}
    results.write_text(json.dumps([{**track, "score": 0.5}]))
    assert validate_ytvis.main([str(path), "--results", str(results)]) == 1
    assert f"{results}: entry number 0 (video" in (printed := capsys.readouterr().out)
    assert "errors, results (1):" in printed
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
