"""From annotated files to a training, by one command."""

import ast
import json
import shlex
import shutil
from pathlib import Path

import finetune
import pytest
import torch
import yaml

from mobileinst_core.files import read_json
from mobileinst_core.ytvis.moving_shapes import make_moving_shapes
from mobileinst_d2.commands import finetune as command

# A network that trains in seconds.
SMALL = [
    *("MODEL.DEVICE", "cpu", "MODEL.BACKBONE.WEIGHTS", ""),
    *("MODEL.BACKBONE.NAME", "TimmBackbone", "MODEL.TIMM.NAME", "test_efficientnet"),
    *("MODEL.MOBILEINST.HIDDEN_DIM", "32", "MODEL.MOBILEINST.KERNEL_DIM", "16"),
    *("MODEL.MOBILEINST.INSTANCE_DECODER.NUM_QUERIES", "8"),
    *("MODEL.MOBILEINST.INSTANCE_DECODER.NUM_HEADS", "2"),
    *("SOLVER.MAX_ITER", "2", "INPUT.MIN_SIZE_TEST", "64", "DATALOADER.NUM_WORKERS", "0"),
]


@pytest.fixture(scope="module")
def shapes(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("shapes")
    return make_moving_shapes(
        root, num_videos=6, num_val_videos=1, num_frames=3, height=48, width=64, seed=2
    )


def planned(*arguments):
    """The config keys that are given to the training, and the plan."""
    made, plan = command.plan_command(command.parse_args(list(map(str, arguments))))
    opts = made[2:]
    return dict(zip(opts[::2], opts[1::2], strict=True)), plan


def source(shapes, file="instances.json", part="train"):
    return shapes / part / file, shapes / part / "JPEGImages"


def test_the_line_that_is_shown_can_be_typed_on_another_machine(shapes, tmp_path):
    arguments = ["--train", *map(str, source(shapes)), "--output", str(tmp_path)]
    shown, _ = command.plan_command(command.parse_args(arguments))
    assert shown[:2] == ["--config-file", "finetune/video.yaml"]
    assert "--num-gpus" not in shown
    assert not any("mobileinst_d2" in text or "configs" in text for text in shown)
    line = command.shell_line(shown)
    typed = dict(zip(shlex.split(line)[::2], shlex.split(line)[1::2], strict=True))
    meant = dict(zip(shown[::2], shown[1::2], strict=True))
    key = "DATASETS.CUSTOM"
    assert ast.literal_eval(typed.pop(key)) == ast.literal_eval(meant.pop(key))
    assert typed["SOLVER.MAX_ITER"] == meant["SOLVER.MAX_ITER"]
    assert '"\'"' not in line  # the shell's way to write a quote within quotes
    shown, _ = command.plan_command(command.parse_args([*arguments, "--num-gpus", "2"]))
    assert shown[2:4] == ["--num-gpus", "2"]


@pytest.mark.parametrize("file", ["instances.json", "coco.json"])
def test_a_fifth_is_held_out(shapes, tmp_path, file):
    opts, plan = planned("--train", *source(shapes, file), "--output", tmp_path)
    whole = read_json(shapes / "train" / file)
    parts = [read_json(tmp_path / "data" / f"{name}.json") for name in ("train", "val")]
    unit, owner = ("videos", "video_id") if "videos" in whole else ("images", "image_id")
    ids = [{x["id"] for x in part[unit]} for part in parts]
    assert ids[0] | ids[1] == {x["id"] for x in whole[unit]}
    assert not ids[0] & ids[1]
    assert len(ids[1]) < len(ids[0])
    for part, kept in zip(parts, ids, strict=True):
        assert part["categories"] == whole["categories"]
        assert {x[owner] for x in part["annotations"]} <= kept
    assert yaml.safe_load(opts["DATASETS.CUSTOM"])[0]["JSON"].startswith(str(tmp_path))
    assert opts["MODEL.NUM_CLASSES"] == str(len(whole["categories"]))
    assert not any("validation" in text for text in plan.warnings)


def test_two_images_train_without_validation_and_say_so(shapes, tmp_path):
    whole = read_json(shapes / "train" / "coco.json")
    kept = [image["id"] for image in whole["images"][:2]]
    path = tmp_path / "two.json"
    small = {
        **whole,
        "images": whole["images"][:2],
        "annotations": [x for x in whole["annotations"] if x["image_id"] in kept],
    }
    path.write_text(json.dumps(small))
    opts, plan = planned("--train", path, shapes / "train" / "JPEGImages", "--output", tmp_path)
    assert opts["DATASETS.TEST"] == "()"
    assert any("no validation set" in text for text in plan.warnings)


def test_images_that_are_not_there_are_named_before_the_training(shapes, tmp_path, fails):
    path, images = source(shapes, "coco.json")
    elsewhere = tmp_path / "images"
    arguments = ["--train", path, elsewhere, "--output", tmp_path / "out"]
    alone, both = [*arguments, "--val-fraction", 0], [*arguments, "--val", path, elsewhere]
    every = r"(\d+) of \1 images of .*coco.json are not in .*images, such as"
    fails(every, finetune.main, [*map(str, alone)])
    shutil.copytree(images, elsewhere)
    name = read_json(path)["images"][0]["file_name"]
    (elsewhere / name).unlink()
    _, plan = planned(*alone)  # a training can do without
    assert any(text.startswith("1 of") and name in text for text in plan.warnings)
    fails(f"error: 1 of .*{name}", finetune.main, [*map(str, both)])


def test_files_that_do_not_fit_are_named(shapes, tmp_path, fails, write_json):
    images = str(shapes / "train" / "JPEGImages")
    coco = read_json(shapes / "train" / "coco.json")
    train = ["--train", str(shapes / "train" / "coco.json"), images, "--val"]
    empty, other = write_json({**coco, "annotations": []}), write_json({"shapes": []}, "other.json")
    for arguments, message in (
        ([*train, str(empty), images], "instances.json has no object to find"),
        ([*train, *map(str, source(shapes, part="val"))], "different kinds"),
        (["--train", str(other), images], "neither 'videos' nor 'images'"),
    ):
        fails(message, finetune.main, [*arguments, "--output", str(tmp_path / "out")])
        assert not (tmp_path / "out" / "config.yaml").exists()


@pytest.mark.parametrize("file", ["instances.json", "coco.json"])
def test_one_command_trains_and_evaluates(shapes, tmp_path, file):
    arguments = ["--train", *source(shapes, file), "--output", tmp_path / "out", *SMALL]
    assert finetune.main(list(map(str, arguments))) == 0
    output = tmp_path / "out"
    assert "root of 4 frames per iteration" in (output / "log.txt").read_text()
    assert "start at random weights: backbone" in (output / "log.txt").read_text()
    assert torch.load(output / "model_final.pth")["iteration"] == 1
    lines = (output / "metrics.json").read_text().splitlines()
    assert any("segm/AP" in json.loads(line) for line in lines)
