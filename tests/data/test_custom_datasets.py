"""Data sets that are given in the config alone."""

from pathlib import Path

import pytest
from annotation_files import custom_dataset
from detectron2.data import DatasetCatalog, MetadataCatalog

from mobileinst_core.errors import UserError
from mobileinst_core.files import read_json, write_json
from mobileinst_d2.data import (
    build_test_loader,
    build_train_loader,
    check_num_classes,
    register_custom_datasets,
)
from mobileinst_d2.data.checks import check_test_data
from mobileinst_d2.data.datasets import coco, ytvis
from mobileinst_d2.data.datasets.catalog import load_videos


def entry(root, name="shapes", kind="ytvis", **changes):
    return custom_dataset(root, name, kind) | changes


def one_batch(cfg):
    return next(iter(build_train_loader(cfg)))


@pytest.mark.parametrize("kind", ["ytvis", "coco"])
def test_training_and_testing_need_the_config_only(cfg, moving_shapes, kind):
    cfg.DATASETS.CUSTOM = [
        entry(moving_shapes / "train", "own_train", kind),
        entry(moving_shapes / "val", "own_val", kind),
    ]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("own_train",), ("own_val",)
    register_custom_datasets(cfg)
    register_custom_datasets(cfg)
    batch = next(iter(build_train_loader(cfg)))
    assert len(batch) == 2
    (sample,) = next(iter(build_test_loader(cfg, "own_val")))
    assert len(sample["image"]) == (8 if kind == "ytvis" else 3)
    assert MetadataCatalog.get("own_val").evaluator_type == kind
    assert len(MetadataCatalog.get("own_train").thing_classes) == 4


@pytest.mark.parametrize("kind", ["ytvis", "coco"])
def test_a_file_is_read_once_for_classes_and_records(cfg, moving_shapes, kind, monkeypatch):
    read, module = [], {"ytvis": ytvis, "coco": coco}[kind]
    load = module.load_records
    count = lambda path, root: read.append(Path(path).parent.name) or load(path, root)  # noqa: E731
    monkeypatch.setattr(module, "load_records", count)
    cfg.DATASETS.CUSTOM = [
        entry(moving_shapes / "train", "once_train", kind),
        entry(moving_shapes / "val", "once_val", kind),
    ]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("once_train",), ("once_val",)
    cfg.MODEL.META_ARCHITECTURE = "MobileInst"
    register_custom_datasets(cfg)
    check_num_classes(cfg)
    check_test_data(cfg)
    first = [sample["file_name" if kind == "coco" else "video_id"] for sample in one_batch(cfg)]
    assert sorted(read) == ["train", "val"]
    again = [sample["file_name" if kind == "coco" else "video_id"] for sample in one_batch(cfg)]
    assert first == again
    assert sorted(read) == ["train", "train", "val"]


def test_records_of_a_file_that_has_changed_are_read_again(cfg, moving_shapes, tmp_path):
    path = tmp_path / "instances.json"
    content = read_json(moving_shapes / "train" / "instances.json")
    write_json(path, content)
    cfg.DATASETS.CUSTOM = [entry(moving_shapes / "train", "changing", JSON=str(path))]
    cfg.DATASETS.TRAIN, cfg.DATASETS.TEST = ("changing",), ()
    cfg.MODEL.META_ARCHITECTURE = "MobileInst"
    register_custom_datasets(cfg)
    check_num_classes(cfg)
    content["videos"] = content["videos"][:1]
    kept = content["videos"][0]["id"]
    content["annotations"] = [t for t in content["annotations"] if t["video_id"] == kept]
    write_json(path, content)
    assert len(load_videos("changing")) == 1


def test_entries_come_from_the_command_line_and_from_yaml(cfg, moving_shapes, tmp_path):
    values = entry(moving_shapes / "train", "from_opts")
    cfg.merge_from_list(["DATASETS.CUSTOM", str([values])])
    register_custom_datasets(cfg)
    values["NAME"] = "from_yaml"
    (tmp_path / "c.yaml").write_text(f"DATASETS:\n  CUSTOM: [{values}]\n")
    cfg.merge_from_file(str(tmp_path / "c.yaml"))
    register_custom_datasets(cfg)
    for name in ("from_opts", "from_yaml"):
        assert len(DatasetCatalog.get(name)) == 6


def test_paths_are_expanded(cfg, moving_shapes, monkeypatch):
    monkeypatch.setenv("MY_SHAPES", str(moving_shapes))
    values = entry(moving_shapes / "train", JSON="$MY_SHAPES/train/instances.json")
    cfg.DATASETS.CUSTOM = [values]
    register_custom_datasets(cfg)
    assert len(DatasetCatalog.get("shapes")) == 6


A = Path("a")


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([entry(A), entry(A, "b", IMAGES="x")], r"DATASETS\.CUSTOM\[1\].*unknown IMAGES"),
        ([entry(A, FORMAT="voc")], r"FORMAT must be 'coco' or 'ytvis', got 'voc'"),
        ([entry(A, NAME="")], "NAME must be a non-empty text"),
        ([entry(A, JSON=3)], "JSON must be a non-empty text, got 3"),
        ([{"NAME": "x", "FORMAT": "coco"}], "missing JSON, IMAGE_ROOT"),
        (["x.json"], r"must be a mapping.*x\.json"),
        ([entry(A), entry(A, JSON="/other")], r"'shapes' is already registered.*/other"),
        ([entry(A), entry(A, IMAGE_ROOT="/other")], r"'shapes' is already registered.*/other"),
        ([entry(A, kind="coco"), entry(A, kind="coco", JSON="/other")], "is already registered"),
        ([entry(A, "coco_2017_train", "coco")], "'coco_2017_train' is already registered"),
        ([entry(A, "ytvis_2019_train")], "'ytvis_2019_train' is already registered"),
    ],
)
def test_wrong_entries_are_named(cfg, entries, message):
    cfg.DATASETS.CUSTOM = entries
    with pytest.raises(ValueError, match=message):
        register_custom_datasets(cfg)


@pytest.mark.parametrize("kind", ["ytvis", "coco"])
def test_missing_files_matter_only_when_used(cfg, tmp_path, kind):
    cfg.DATASETS.CUSTOM = [entry(tmp_path / "nowhere", "absent", kind)]
    register_custom_datasets(cfg)
    with pytest.raises((FileNotFoundError, UserError), match="nowhere"):
        DatasetCatalog.get("absent")
