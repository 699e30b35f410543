"""The command as a user runs it: a small network, generated videos, one or two processes."""

import json
from pathlib import Path

import pytest
import torch
from annotation_files import custom_dataset
from detectron2.engine import default_argument_parser
from small_network import SIZE, build_small_network, small_config

from mobileinst_core.errors import UserError
from mobileinst_core.ytvis.moving_shapes import SHAPE_CLASSES, make_moving_shapes
from mobileinst_d2.commands import train
from mobileinst_d2.engine import add_exported_arguments
from mobileinst_d2.export import export_model

# The same sums as in subprocesses.
pytestmark = pytest.mark.usefixtures("one_thread")

CONFIG = """
MODEL:
  META_ARCHITECTURE: MobileInst
  NUM_CLASSES: {num_classes}
  BACKBONE: {{NAME: TimmBackbone}}
  TIMM: {{NAME: test_efficientnet}}
  MOBILEINST:
    HIDDEN_DIM: 32
    KERNEL_DIM: 16
    INSTANCE_DECODER: {{NUM_QUERIES: 8, NUM_HEADS: 2, FFN_DIM: 32}}
INPUT:
  FORMAT: RGB
  MASK_FORMAT: bitmask
  MIN_SIZE_TRAIN: [64]
  MIN_SIZE_TEST: 64
DATASETS:
  CUSTOM:
    - {{NAME: toy_net_videos, FORMAT: ytvis, JSON: {data}/train/instances.json,
       IMAGE_ROOT: {data}/train/JPEGImages}}
    - {{NAME: toy_net_images, FORMAT: coco, JSON: {data}/train/coco.json,
       IMAGE_ROOT: {data}/train/JPEGImages}}
  TRAIN: [toy_net_videos]
  TEST: [toy_net_videos]
DATALOADER: {{NUM_WORKERS: 0}}
SOLVER: {{IMS_PER_BATCH: 2, BASE_LR: 0.001, MAX_ITER: 4, STEPS: [3], CHECKPOINT_PERIOD: 2}}
SEED: 5
OUTPUT_DIR: {output}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return make_moving_shapes(
        tmp_path_factory.mktemp("shapes"), num_videos=2, num_frames=3, height=64, width=96
    )


@pytest.fixture
def config(tmp_path, data):
    path = tmp_path / "config.yaml"
    path.write_text(
        CONFIG.format(num_classes=len(SHAPE_CLASSES), data=data, output=tmp_path / "output")
    )
    return path


def command_line(config, *arguments):
    return ["--config-file", str(config), *map(str, arguments)]


def main(config, *arguments):
    """Run train_net in this process."""
    return run(*command_line(config, *arguments))


def run(*arguments):
    parser = default_argument_parser()
    add_exported_arguments(parser)
    return train.main(parser.parse_args(list(map(str, arguments))))


def final_weights(output):
    return torch.load(Path(output) / "model_final.pth")["model"]


def test_train_then_evaluate(config, tmp_path):
    output = tmp_path / "output"
    main(config)
    metrics = [json.loads(line) for line in (output / "metrics.json").read_text().splitlines()]
    names = set().union(*metrics)
    assert {"loss_cls", "loss_dice", "loss_mask", "loss_obj", "total_loss", "lr"} <= names
    assert {"loss_passed_dice", "loss_passed_mask"} <= names
    assert "segm/AP" in names
    assert {path.name for path in output.glob("model_*.pth")} == {
        "model_0000001.pth",
        "model_0000003.pth",
        "model_final.pth",
    }
    files = ("config.yaml", "log.txt", "metadata.json", "last_checkpoint", "inference/results.json")
    for name in files:
        assert (output / name).exists(), name
    classes = json.loads((output / "metadata.json").read_text())
    assert len(classes["category_ids"]) == len(classes["thing_classes"]) > 0

    # The dumped config with the final weights gives the same metrics again.
    arguments = ("MODEL.WEIGHTS", output / "model_final.pth", "OUTPUT_DIR", tmp_path / "again")
    results = main(output / "config.yaml", "--eval-only", *arguments)
    logged = next(row for row in reversed(metrics) if "segm/AP" in row)
    assert results["segm"]["AP"] == pytest.approx(logged["segm/AP"], nan_ok=True)


def test_neither_evaluation_nor_a_false_start_replaces_the_config_of_a_training(config, tmp_path):
    main(config, "SOLVER.MAX_ITER", 1, "DATASETS.TEST", "()")
    written = (tmp_path / "output/config.yaml").read_text()
    main(config, "--eval-only", "--resume", "TEST.TRACKING.CLIP_LEN", 2)
    assert (tmp_path / "output/config.yaml").read_text() == written
    with pytest.raises(UserError, match=r"model_final.pth"):
        main(config, "--resume", "MODEL.MOBILEINST.INSTANCE_DECODER.NUM_QUERIES", 7)
    assert (tmp_path / "output/config.yaml").read_text() == written
    main(config, "SOLVER.MAX_ITER", 1, "DATASETS.TEST", "()", "SEED", 4711)
    assert "SEED: 4711" in (tmp_path / "output/config.yaml").read_text()


def test_images_and_several_test_sets(config, tmp_path):
    data_sets = ("DATASETS.TRAIN", "('toy_net_images',)")
    data_sets += ("DATASETS.TEST", "('toy_net_images', 'toy_net_videos')")
    main(config, *data_sets, "SOLVER.MAX_ITER", 1)
    results = main(config, "--eval-only", "--resume", *data_sets)
    assert set(results) == {"toy_net_images", "toy_net_videos"}
    assert all("AP50" in result["segm"] for result in results.values())
    for name in results:
        assert any((tmp_path / "output/inference" / name).iterdir())


def test_two_processes_train_and_evaluate(config, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    two = ("--num-gpus", 2, "--dist-url", "auto", "SOLVER.MAX_ITER", 2)
    assert train.invoke_main(command_line(config, *two)) == 0
    assert (tmp_path / "output/log.txt.rank1").exists()
    assert all(value.isfinite().all() for value in final_weights(tmp_path / "output").values())
    assert "segm/AP" in (tmp_path / "output/metrics.json").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["SOLVER.MAX_ITR", 3], "'SOLVER.MAX_ITR'; the closest is 'SOLVER.MAX_ITER'"),
        (["--num-gpus", 2, "SOLVER.MAX_ITR", 3], "the closest is 'SOLVER.MAX_ITER'"),
        (["--eval-only", "DATASETS.TEST", "()"], r"DATASETS\.TEST"),
        (
            ["--eval-only", "INPUT.FIXED_SIZE_TEST", "(96,100)"],
            "both sides must be multiples of 64",
        ),
    ],
)
def test_mistakes_end_with_what_is_wrong_and_no_traceback(fails, config, arguments, message):
    fails(message, train.invoke_main, command_line(config, *arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "--model is for --eval-only"), (["--eval-only", "--resume"], "without --resume")],
)
def test_exported_models_are_not_trained(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        train.invoke_main(["--model", str(tmp_path), *arguments])
    assert message in capsys.readouterr().err


def test_an_exported_model_is_evaluated_in_place_of_the_network(data, tmp_path):
    folder, runtime = tmp_path / "exported", "ncnn"
    names = {kind: f"toy_{runtime}_{kind}" for kind in ("ytvis", "coco")}
    sets = [custom_dataset(data / "train", name, kind) for kind, name in names.items()]
    cfg = small_config(DATASETS__CUSTOM=sets, TEST__SCORE_THRESHOLD=0.0)
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATASETS.TRAIN = ("gone",)
    cfg.DATASETS.TEST = tuple(names.values())
    export_model(build_small_network(), cfg, SIZE, runtime, folder)
    exported = sorted(path.name for path in folder.iterdir())
    results = run("--model", folder, "--eval-only")
    assert set(results) == set(cfg.DATASETS.TEST)
    for name in ("ytvis/results.json", "coco/coco_instances_results.json"):
        path = tmp_path / "exported_evaluation" / "inference" / f"toy_{runtime}_{name}"
        assert json.loads(path.read_text()), name
    assert sorted(path.name for path in folder.iterdir()) == exported


def test_the_backbones_file_is_needed_for_a_fresh_training_only(config, tmp_path):
    output = tmp_path / "output"
    missing = ("MODEL.BACKBONE.WEIGHTS", tmp_path / "gone.pth")
    with pytest.raises(FileNotFoundError, match=r"MODEL\.BACKBONE\.WEIGHTS.*gone\.pth"):
        main(config, *missing)
    main(config, "SOLVER.MAX_ITER", 1, "DATASETS.TEST", "()")
    main(config, "--resume", *missing, "SOLVER.MAX_ITER", 2, "DATASETS.TEST", "()")
    whole = (*missing, "MODEL.WEIGHTS", output / "model_final.pth")
    main(config, "--eval-only", *whole)
    # A training that starts from these weights, with the rows of its own classes.
    fine_tuned = tmp_path / "fine_tuned"
    no_evaluation = ("DATASETS.TEST", "()", "OUTPUT_DIR", fine_tuned)
    classes = ("MODEL.WARM_START_CLASSES", "toy_net_videos")
    main(config, *whole, *no_evaluation, *classes, "SOLVER.MAX_ITER", 1)
    log = (fine_tuned / "log.txt").read_text()
    assert "gone.pth) is not used: the whole model comes from" in log
    assert "The class layer (instance_decoder.class_head.weight" in log
    assert f"starts from {len(SHAPE_CLASSES)} of the {len(SHAPE_CLASSES)} classes" in log


def test_a_training_is_resumed_from_its_folder_alone_without_loss(config, tmp_path, fails):
    output = tmp_path / "output"
    main(config, "DATASETS.TEST", "()")
    expected = final_weights(output)
    # As after a kill before the last checkpoint.
    (output / "last_checkpoint").write_text("model_0000001.pth")
    config.unlink()
    assert train.invoke_main(["--resume", "OUTPUT_DIR", str(output)]) == 0
    assert "Starting training from iteration 2" in (output / "log.txt").read_text()
    for name, value in final_weights(output).items():
        assert torch.equal(value, expected[name]), name
    fails("config.yaml is missing", train.invoke_main, ["--resume", "OUTPUT_DIR", str(tmp_path)])
    fails("--resume needs --config-file FILE, or OUTPUT_DIR", train.invoke_main, ["--resume"])
