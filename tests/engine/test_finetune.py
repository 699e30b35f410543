"""Plans for small data: what is decided from them, and what stays as it was chosen."""

import numpy as np
import pytest
from torch import nn

from mobileinst_core.errors import ConfigError
from mobileinst_d2.engine import setup_cfg
from mobileinst_d2.engine.best_checkpoint import build_best_checkpointer
from mobileinst_d2.engine.finetune import DataSummary, plan_training, summarize_data


def summary(*, videos=23, frames=400, size=0.3, is_video=True, classes=None):
    return DataSummary(
        is_video=is_video,
        num_records=videos,
        num_frames=frames,
        objects_per_class=classes or {"cat": 20, "dog": 9},
        relative_sizes=np.full(50, size),
        frame_size=(360, 640),
    )


def plan(data, *opts, **more):
    cfg = setup_cfg("finetune/video.yaml", ["MODEL.DEVICE", "cpu", *map(str, opts)])
    return plan_training(cfg, data, chosen=opts[::2], **more)


def box(side):
    return [0, 0, side, side]


def test_videos_are_counted_and_measured():
    tracks = [
        {"category_id": 1, "iscrowd": 0, "bboxes": [box(10), None, box(20)]},
        {"category_id": 0, "iscrowd": 1, "bboxes": [box(50), box(50), box(50)]},
        {"category_id": 1, "iscrowd": 0, "bboxes": [None, None, None]},
    ]
    video = {"height": 100, "width": 200, "tracks": tracks}
    data = summarize_data([video, {**video, "tracks": []}], ["bird", "cat"])
    assert data[:4] == (True, 1, 2, {"bird": 0, "cat": 1})
    assert data.relative_sizes.tolist() == [0.1, 0.2]
    assert data.frame_size == (100, 200)


def test_images_are_counted_and_measured():
    image = {"height": 50, "width": 40, "annotations": [{"category_id": 0, "bbox": box(20)}]}
    data = summarize_data([image, image, {**image, "annotations": []}], ["cat"])
    assert data[:4] == (False, 2, 2, {"cat": 2})
    assert data.relative_sizes.tolist() == [0.5, 0.5]
    with pytest.raises(ConfigError, match="no object"):
        summarize_data([{"height": 50, "width": 40, "tracks": []}], ["cat"])


@pytest.mark.parametrize(
    ("frames", "iterations"), [(2, 300), (400, 3000), (2000, 15_000), (15_000, 20_000)]
)
def test_the_schedule_follows_the_data_between_bounds(frames, iterations):
    decided = plan(summary(frames=frames)).overrides
    assert decided["SOLVER.MAX_ITER"] == iterations
    assert decided["TEST.EVAL_PERIOD"] == decided["SOLVER.CHECKPOINT_PERIOD"] == iterations // 10
    assert decided["SOLVER.WARMUP_ITERS"] < iterations / 10


def test_the_learning_rate_grows_with_the_root_of_the_batch_and_says_so():
    assert plan(summary()).overrides["SOLVER.BASE_LR"] == 5e-4
    wider = plan(summary(), "SOLVER.IMS_PER_BATCH", 4)
    assert wider.overrides["SOLVER.BASE_LR"] == pytest.approx(7.1e-4)
    assert "SOLVER.IMS_PER_BATCH" not in wider.overrides
    (rule,) = [reason for reason in wider.reasons if reason.startswith("SOLVER.BASE_LR")]
    assert "root of 8 frames per iteration over 4" in rule
    assert plan(summary(), "SOLVER.IMS_PER_BATCH", 64).overrides["SOLVER.BASE_LR"] == 1e-3
    trained = plan(summary(), "MODEL.WEIGHTS", "model.pth")
    assert trained.overrides["SOLVER.BASE_LR"] == 1e-4


def test_each_process_has_its_share_of_the_batch():
    decided = plan(summary(), num_processes=2).overrides
    assert decided["SOLVER.IMS_PER_BATCH"] == 4
    assert decided["SOLVER.MAX_ITER"] == 1500


@pytest.mark.parametrize(("size", "side"), [(0.9, 256), (0.17, 288), (0.05, 384)])
def test_the_input_is_larger_for_smaller_objects_but_not_than_the_frames(size, side):
    decided = plan(summary(size=size)).overrides
    assert decided["INPUT.MIN_SIZE_TEST"] == side
    assert decided["INPUT.MAX_SIZE_TEST"] >= side * 640 / 360


def test_few_data_keep_the_first_layers_of_a_backbone_that_has_weights():
    key = "MODEL.BACKBONE.FREEZE_AT"
    assert plan(summary(videos=23)).overrides[key] == 4
    assert key not in plan(summary(videos=100)).overrides
    assert key not in plan(summary(videos=23), "MODEL.BACKBONE.WEIGHTS", "").overrides
    assert key not in plan(summary(videos=23), key, 0).overrides
    assert plan(summary(videos=999, is_video=False)).overrides[key] == 4


def test_crops_enlarge_objects_so_that_training_frames_are_smaller():
    cropped = plan(summary(size=0.17)).overrides["INPUT.MIN_SIZE_TRAIN"]
    whole = plan(summary(size=0.17), "INPUT.CROP.ENABLED", False).overrides["INPUT.MIN_SIZE_TRAIN"]
    assert whole == (202, 288)  # up to the size in evaluation
    assert cropped == (161, 230)  # with windows of 0.8 of a side on average, the same objects


def test_objects_of_a_few_pixels_and_empty_classes_are_named():
    found = plan(summary(size=0.01, classes={"cat": 4, "emu": 0})).warnings
    assert any("fewer than 8 pixels" in text for text in found)
    assert any("the class emu" in text for text in found)
    assert plan(summary(classes={"cat": 4})).warnings == []


def test_chosen_values_stay_and_the_rest_follows_them():
    made = plan(summary(), "SOLVER.MAX_ITER", 50, "INPUT.MIN_SIZE_TEST", 320)
    assert not made.overrides.keys() & {"SOLVER.MAX_ITER", "INPUT.MIN_SIZE_TEST"}
    assert made.overrides["TEST.EVAL_PERIOD"] == 5
    assert made.overrides["INPUT.MIN_SIZE_TRAIN"] == (179, 256)
    epochs = plan(summary(), "SOLVER.EPOCHS", 10.0).overrides
    assert "SOLVER.MAX_ITER" not in epochs
    assert epochs["TEST.EVAL_PERIOD"] == 100
    larger = plan(summary(), "INPUT.MIN_SIZE_TRAIN", (300, 400)).overrides
    assert larger["INPUT.MAX_SIZE_TRAIN"] == 736  # the shape of 400 pixels, which nothing caps
    often = plan(summary(), "TEST.EVAL_PERIOD", 15).overrides
    assert often["SOLVER.CHECKPOINT_PERIOD"] == often["VIS_PERIOD"] == 15
    never = plan(summary(), "TEST.EVAL_PERIOD", 0).overrides
    assert never["SOLVER.CHECKPOINT_PERIOD"] == 300


@pytest.mark.parametrize(
    ("config", "metric"),
    [
        ("yolact/yolact_mobilenetv4-s_coco.yaml", "segm/AP"),
        ("fastinst/fastinst_mobilenetv4-s_d3_coco.yaml", "segm/AP"),
        ("sparseinst/sparseinst_mobilenetv4-s_coco.yaml", "segm/AP"),
        ("mobileinst/mobileinst-s_coco.yaml", "segm/AP"),
        ("detectron2/retinanet_topformer-b_fpn.yaml", "bbox/AP"),
    ],
)
def test_a_plan_on_another_config_lacks_nothing(config, metric):
    opts = ["MODEL.DEVICE", "cpu", "DATASETS.TEST", "('any',)"]
    cfg = setup_cfg(config, opts)
    made = plan_training(cfg, summary(is_video=False), chosen=opts[::2])
    assert made.overrides["TEST.BEST_METRIC"] == metric
    assert any(f"without a better {metric}" in reason for reason in made.reasons)
    cfg.merge_from_list([x for pair in made.overrides.items() for x in pair])
    build_best_checkpointer(cfg, nn.Linear(1, 1))
    assert all(step < cfg.SOLVER.MAX_ITER for step in cfg.SOLVER.STEPS)
    if "yolact" in config:
        # It stretches images itself, from all of their pixels.
        assert not any(key.startswith("INPUT.M") for key in made.overrides)
    else:
        assert made.overrides["INPUT.MIN_SIZE_TEST"] > 0


def test_nothing_stops_a_training_that_is_not_evaluated_on_the_way():
    made = plan(summary(), "DATASETS.TEST", "('any',)", "TEST.EVAL_PERIOD", 0).overrides
    assert "TEST.EARLY_STOPPING" not in made
    chosen = plan(summary(), "DATASETS.TEST", "('any',)", "TEST.BEST_METRIC", "").overrides
    assert not chosen.keys() & {"TEST.BEST_METRIC", "TEST.EARLY_STOPPING"}
