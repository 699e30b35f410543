"""Names of public data sets beside another project that registers them as well."""

import json
import sys

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog

from mobileinst_d2.data import build_test_loader, build_train_loader, register_builtin_datasets
from mobileinst_d2.data.datasets import builtin, is_video_dataset, load_videos
from mobileinst_d2.evaluation import YTVISEvaluator

NAME = "ytvis_2019_train"


@pytest.fixture(autouse=True)
def unused(clean_catalogs):
    """Names that nothing in this process has used yet."""
    for name in builtin.builtin_names():
        for catalog in (DatasetCatalog, MetadataCatalog):
            catalog.data.pop(name, None)


@pytest.fixture
def root(tmp_path, monkeypatch, moving_shapes):
    """A folder of data sets with the layout of one file and one of folders."""
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    folder = tmp_path / "datasets/ytvis_2019/train"
    folder.mkdir(parents=True)
    (folder / "JPEGImages").symlink_to(moving_shapes / "train/JPEGImages")
    content = json.loads((moving_shapes / "train/instances.json").read_text())
    content["categories"] = [
        {"id": i, "name": name} for i, name in enumerate(builtin.THING_CLASSES["ytvis_2019"], 1)
    ]
    (tmp_path / "datasets/ytvis_2019/train.json").write_text(json.dumps(content))
    return tmp_path / "datasets"


def register_others(root, name=NAME, **metadata):
    """What a project does that registers public names when it is imported."""
    files = {
        "json_file": str(root / "ytvis_2019/train.json"),
        "image_root": str(root / "ytvis_2019/train/JPEGImages"),
    }

    def load():
        raise AssertionError("the other project's records were loaded")

    DatasetCatalog.register(name, load)
    classes = list(builtin.THING_CLASSES["ytvis_2019"])
    id_map = {i + 1: i for i in range(len(classes))}
    MetadataCatalog.get(name).set(
        evaluator_type="ytvis",
        thing_classes=classes,
        thing_dataset_id_to_contiguous_id=id_map,
        **{**files, **metadata},
    )


def register_after_the_import(rank):
    assert "mobileinst_d2.engine" in sys.modules
    DatasetCatalog.register(NAME, list)
    MetadataCatalog.get(NAME).set(json_file="a", thing_classes=["b"])


def test_another_project_can_register_its_names_after_the_import():
    # In a process that has imported everything, and nothing else was done in.
    torch.multiprocessing.spawn(register_after_the_import)


def test_names_are_registered_when_they_are_used(root, cfg):
    cfg.DATASETS.TRAIN, cfg.MODEL.NUM_CLASSES = (NAME,), 40
    build_train_loader(cfg)
    assert NAME in DatasetCatalog
    assert "ovis_train" not in DatasetCatalog
    register_builtin_datasets()
    assert "ovis_train" in DatasetCatalog


def test_a_held_name_is_used_if_it_means_the_same_files(root, cfg, tmp_path):
    link = tmp_path / "link"
    link.symlink_to(root)
    register_others(link)
    assert is_video_dataset(NAME)
    (first, *_) = load_videos(NAME)
    assert first["tracks"]
    assert first["file_names"][0].startswith(str(link))
    cfg.DATASETS.TRAIN, cfg.MODEL.NUM_CLASSES = (NAME,), 40
    batch = next(iter(build_train_loader(cfg)))
    assert len(batch) == 2
    assert len(build_test_loader(cfg, NAME)) == 6
    YTVISEvaluator(NAME)


def test_other_files_are_an_error_that_names_the_holder(root, tmp_path):
    elsewhere = tmp_path / "other.json"
    elsewhere.write_text((root / "ytvis_2019/train.json").read_text())
    register_others(root, json_file=str(elsewhere))
    message = rf"'{NAME}' is held by test_other_projects, where it means .*other\.json"
    with pytest.raises(ValueError, match=message) as caught:
        load_videos(NAME)
    assert "ytvis_2019/train.json" in str(caught.value)
    assert "DATASETS.CUSTOM" in str(caught.value)
    assert "DETECTRON2_DATASETS" in str(caught.value)


def test_a_holder_whose_files_are_missing_or_unknown_is_an_error(root):
    register_others(root, json_file=str(root / "valid.json"))
    with pytest.raises(ValueError, match=r"valid\.json \(missing\).*Put the files there"):
        load_videos(NAME)
    DatasetCatalog.register("ovis_train", lambda: [{"annotations": []}])
    with pytest.raises(ValueError, match=r"held by test_other_projects, which does not tell where"):
        load_videos("ovis_train")


def test_records_of_another_form_are_read_from_their_files(root):
    DatasetCatalog.register("theirs", lambda: [{"video_id": 1, "annotations": [[]]}])
    MetadataCatalog.get("theirs").set(
        evaluator_type="ytvis",
        json_file=str(root / "ytvis_2019/train.json"),
        image_root=str(root / "ytvis_2019/train/JPEGImages"),
    )
    assert load_videos("theirs")[0]["tracks"]
