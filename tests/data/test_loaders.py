"""Training and test loaders of images and videos."""

import itertools
import json
import logging
import re

import numpy as np
import pytest
import torch
from annotation_files import custom_dataset
from detectron2.data import DatasetCatalog, MetadataCatalog

from mobileinst_core.errors import ConfigError
from mobileinst_d2.data import (
    build_test_loader,
    build_train_loader,
    check_num_classes,
    register_custom_datasets,
)


@pytest.fixture
def cfg(cfg, moving_shapes):
    """Small images and videos, registered for training and testing."""
    cfg.DATASETS.CUSTOM = [
        custom_dataset(moving_shapes / split, f"{kind}_{split}", kind)
        for kind in ("ytvis", "coco")
        for split in ("train", "val")
    ]
    register_custom_datasets(cfg)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("ytvis_train",), ("ytvis_val",)
    return cfg


def take(cfg, batches):
    return list(itertools.islice(iter(build_train_loader(cfg)), batches))


@pytest.mark.parametrize("dataset", ["ytvis_train", "coco_train"])
def test_a_seed_gives_the_same_batches(cfg, dataset):
    cfg.DATASETS.TRAIN = (dataset,)
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.COLOR_JITTER = 0.2
    straight = take(cfg, 4)
    cfg.DATALOADER.NUM_WORKERS = 2
    again = take(cfg, 4)
    cfg.SEED = 1
    other = take(cfg, 4)

    def pixels(batches):
        return [
            torch.cat([x.flatten() for x in sample["image"]])
            for batch in batches
            for sample in batch
        ]

    assert all(map(torch.equal, pixels(straight), pixels(again)))
    assert not all(
        a.shape == b.shape and torch.equal(a, b)
        for a, b in zip(pixels(straight), pixels(other), strict=True)
    )


@pytest.mark.parametrize(("key", "value"), [("COPY_PASTE", 1.5), ("SAMPLING_FRAME_NUM", 0)])
def test_a_value_out_of_range_is_an_error_for_the_user(cfg, key, value):
    cfg.INPUT[key] = value
    with pytest.raises(ConfigError, match=f"INPUT has a value.* is {value}"):
        build_train_loader(cfg)


def test_an_epoch_of_frames_has_each_annotated_frame_as_reference_once(cfg, shape_records):
    cfg.SOLVER.IMS_PER_BATCH = 1
    cfg.INPUT.SAMPLING_FRAME_NUM = 1
    expected = {
        (record["video_id"], frame)
        for record in shape_records
        for frame in range(record["length"])
        if any(track["segmentations"][frame] for track in record["tracks"])
    }
    assert len(expected) < 6 * 8
    loader = build_train_loader(cfg)
    assert (loader.frames_per_epoch, loader.frames_per_sample) == (len(expected), 1)
    epoch = itertools.islice(iter(loader), len(expected))
    assert {(c["video_id"], *c["frame_idx"]) for (c,) in epoch} == expected
    cfg.INPUT.SAMPLING_FRAME_NUM = 3
    assert build_train_loader(cfg).frames_per_sample == 3
    cfg.DATASETS.TRAIN = ("coco_train",)
    loader = build_train_loader(cfg)
    assert (loader.frames_per_epoch, loader.frames_per_sample) == (len(loader.dataset), 1)


def rewrite(moving_shapes, tmp_path, change):
    content = json.loads((moving_shapes / "train" / "instances.json").read_text())
    change(content)
    path = tmp_path / "changed.json"
    path.write_text(json.dumps(content))
    return path


def use(cfg, path, moving_shapes, name="changed"):
    cfg.DATASETS.CUSTOM = [custom_dataset(moving_shapes / "train", name, JSON=str(path))]
    register_custom_datasets(cfg)
    cfg.DATASETS.TRAIN = (name,)


def test_videos_without_usable_tracks_are_dropped_and_counted(cfg, moving_shapes, tmp_path, caplog):
    def change(content):
        tracks = content["annotations"]
        content["annotations"] = [t for t in tracks if t["video_id"] != 1]
        for track in content["annotations"]:
            track["iscrowd"] = int(track["video_id"] == 2)

    use(cfg, rewrite(moving_shapes, tmp_path, change), moving_shapes)
    cfg.SOLVER.IMS_PER_BATCH = 1
    with caplog.at_level(logging.INFO):
        epoch = build_train_loader(cfg).frames_per_epoch
        seen = {clip["video_id"] for (clip,) in take(cfg, epoch)}
    assert seen == {3, 4, 5, 6}
    assert "Removed 2 videos" in caplog.text
    assert len(build_test_loader(cfg, "changed")) == 6


def test_training_without_ground_truth_is_refused(cfg, moving_shapes, tmp_path):
    def change(content):
        content["annotations"] = None

    use(cfg, rewrite(moving_shapes, tmp_path, change), moving_shapes)
    with pytest.raises(ValueError, match="No video of changed has a usable track"):
        build_train_loader(cfg)
    assert len(build_test_loader(cfg, "changed")) == 6


def test_records_of_another_package_are_recognised(cfg):
    DatasetCatalog.register("foreign", lambda: [{"video_id": 1, "annotations": [[]]}])
    MetadataCatalog.get("foreign").set(evaluator_type="ytvis", thing_classes=["x"])
    cfg.DATASETS.TRAIN = ("foreign",)
    with pytest.raises(ValueError, match="foreign have no 'tracks'"):
        build_train_loader(cfg)


def test_groups_of_orientation_share_batches(cfg, moving_shapes, tmp_path):
    """Half of the videos are portrait; a batch holds one orientation only."""

    def change(content):
        for video in content["videos"][::2]:
            video["height"], video["width"] = video["width"], video["height"]
        portrait = {video["id"] for video in content["videos"][::2]}
        for track in content["annotations"]:
            if track["video_id"] in portrait:
                track["segmentations"] = [
                    s and [[5, 5, 20, 5, 20, 20]] for s in track["segmentations"]
                ]

    use(cfg, rewrite(moving_shapes, tmp_path, change), moving_shapes)
    cfg.DATALOADER.ASPECT_RATIO_GROUPING = True
    kinds = [{clip["width"] > clip["height"] for clip in batch} for batch in take(cfg, 10)]
    assert all(len(kind) == 1 for kind in kinds)
    assert len(set.union(*kinds)) == 2


def test_repeat_factor_sampler_is_for_images(cfg):
    cfg.DATALOADER.SAMPLER_TRAIN = "RepeatFactorTrainingSampler"
    cfg.DATALOADER.REPEAT_THRESHOLD = 0.5
    with pytest.raises(ValueError, match="SAMPLER_TRAIN"):
        build_train_loader(cfg)
    cfg.DATASETS.TRAIN = ("coco_train",)
    assert len(take(cfg, 1)[0]) == 2


def test_batch_sizes_and_names_are_checked(cfg):
    cfg.SOLVER.IMS_PER_BATCH = 0
    with pytest.raises(ValueError, match=r"IMS_PER_BATCH \(0\)"):
        build_train_loader(cfg)
    cfg.DATASETS.TRAIN = ()
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN is empty"):
        build_train_loader(cfg)


def test_test_loader_uses_its_argument(cfg):
    cfg.DATASETS.TEST = ("ytvis_train",)
    loader = build_test_loader(cfg, "ytvis_val")
    assert [len(batch) for batch in loader] == [1, 1]
    (video,) = next(iter(loader))
    assert "/val/" in video["file_names"][0]
    assert np.shape(video["image"][0]) == (3, 36, 48)


def test_number_of_classes(cfg):
    cfg.MODEL.META_ARCHITECTURE = "MobileInst"
    check_num_classes(cfg)
    cfg.MODEL.NUM_CLASSES = 80
    with pytest.raises(
        ValueError, match=r"80.*'ytvis_train' has 4 classes \(disc, .*NUM_CLASSES 4"
    ):
        check_num_classes(cfg)
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("coco_2017_train",), ("coco_2017_val",)
    check_num_classes(cfg)
    cfg.DATASETS.TEST = ("ytvis_2021_val",)
    with pytest.raises(ValueError, match=r"'ytvis_2021_val' has 40 classes \(airplane, .*40"):
        check_num_classes(cfg)


@pytest.mark.parametrize(
    ("architecture", "key"),
    [
        ("RetinaNet", "MODEL.RETINANET.NUM_CLASSES"),
        ("GeneralizedRCNN", "MODEL.ROI_HEADS.NUM_CLASSES"),
    ],
)
def test_number_of_classes_of_detectron2s_own_detectors(cfg, architecture, key):
    cfg.MODEL.META_ARCHITECTURE = architecture
    cfg.merge_from_list([key, 4])
    check_num_classes(cfg)
    cfg.merge_from_list([key, 80])
    with pytest.raises(ValueError, match=rf"{re.escape(key)} is 80.*Set {re.escape(key)} 4,"):
        check_num_classes(cfg)


@pytest.mark.parametrize("key", ["TRAIN", "TEST"])
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such_set", r"no data set 'no_such_set'\. Correct DATASETS.TRAIN or .*\.CUSTOM"),
        ("ovis_trian", r"no data set 'ovis_trian'; the closest names are ovis_train, "),
    ],
)
def test_an_unknown_dataset_is_named(cfg, key, name, message):
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = (), ()
    cfg.DATASETS[key] = (name,)
    with pytest.raises(ConfigError, match=message):
        check_num_classes(cfg)
    with pytest.raises(ConfigError, match=message):
        build_train_loader(cfg) if key == "TRAIN" else build_test_loader(cfg, name)
