"""Public data sets: names, classes, and the folder layouts in use."""

import importlib
import json
import logging

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from mobileinst_d2.data.datasets import builtin

LAYOUTS = [
    ("ytvis_2019_train", "ytvis_2019/train.json", "ytvis_2019/train/JPEGImages"),
    ("ytvis_2019_val", "ytvis_2019/valid.json", "ytvis_2019/valid/JPEGImages"),
    ("ytvis_2021_val", "ytvis_2021/valid/instances.json", "ytvis_2021/valid/JPEGImages"),
    ("ytvis_2021_test", "ytvis_2021/test/instances.json", "ytvis_2021/test/JPEGImages"),
    (
        "ytvis_2019_val",
        "ytvis_2019/annotations/instances_val_sub.json",
        "ytvis_2019/val/JPEGImages",
    ),
    ("ytvis_2019_val", "youtubevis/annotations/valid.json", "youtubevis/valid"),
    ("ytvis_2019_train", "youtube_vis_2019/train.json", "youtube_vis_2019/train/JPEGImages"),
    ("ytvis_2022_train", "ytvis_2021/train/instances.json", "ytvis_2021/train/JPEGImages"),
    ("ovis_val", "ovis/annotations/annotations_valid.json", "ovis/valid"),
    ("ovis_train", "ovis/annotations/train.json", "ovis/train"),
    ("ovis_test", "ovis/annotations_test.json", "ovis/test"),
    ("ytvis_2019_train_sub", "ytvis_2019/train_sub.json", "ytvis_2019/train/JPEGImages"),
    ("ytvis_2021_val_sub", "ytvis_2021/train/val_sub.json", "ytvis_2021/train/JPEGImages"),
    ("ovis_val_sub", "ovis/annotations/val_sub.json", "ovis/train"),
]


def place(root, json_file, image_root, classes):
    (root / image_root).mkdir(parents=True)
    content = {
        "videos": [{"id": 1, "height": 4, "width": 4, "file_names": ["v/0.jpg"]}],
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes, 1)],
    }
    path = root / json_file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def classes_of(name):
    return next(c for dataset, c in builtin.THING_CLASSES.items() if name.startswith(dataset))


@pytest.mark.parametrize(("name", "json_file", "image_root"), LAYOUTS)
def test_layouts(tmp_path, monkeypatch, name, json_file, image_root):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    place(tmp_path, json_file, image_root, classes_of(name))
    (record,) = DatasetCatalog.get(name)
    assert record["file_names"] == [str(tmp_path / image_root / "v/0.jpg")]
    assert record["tracks"] is None
    metadata = MetadataCatalog.get(name)
    assert metadata.json_file == str(tmp_path / json_file)
    assert metadata.image_root == str(tmp_path / image_root)


def test_an_incomplete_layout_is_passed_over(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    (tmp_path / "ytvis_2019").mkdir()
    (tmp_path / "ytvis_2019/train.json").write_text("{}")
    place(tmp_path, "youtubevis/annotations/train.json", "youtubevis/train", ["x"])
    json_file, _ = builtin.find_builtin_paths("ytvis_2019_train")
    assert json_file == str(tmp_path / "youtubevis/annotations/train.json")


def test_failure_lists_every_path(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    (tmp_path / "ytvis_2021/valid/JPEGImages").mkdir(parents=True)
    with pytest.raises(FileNotFoundError) as caught:
        DatasetCatalog.get("ytvis_2021_val")
    message = str(caught.value)
    for path in ("ytvis_2021/valid.json", "ytvis_2021/valid/instances.json"):
        assert f"{tmp_path / path} (missing)" in message
    assert f"{tmp_path / 'ytvis_2021/valid/JPEGImages'} (found)" in message
    assert "DETECTRON2_DATASETS" in message


def test_paths_of_an_absent_dataset_are_explained_by_the_metadata_too(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    metadata = MetadataCatalog.get("ovis_val")
    assert len(metadata.thing_classes) == 25
    with pytest.raises(FileNotFoundError, match="annotations_valid"):
        metadata.get("json_file")


def test_classes_known_without_files():
    for dataset, number in (("ytvis_2019", 40), ("ytvis_2021", 40), ("ovis", 25)):
        for split in ("train", "val", "test"):
            metadata = MetadataCatalog.get(f"{dataset}_{split}")
            assert metadata.evaluator_type == "ytvis"
            assert len(set(metadata.thing_classes)) == number
            assert metadata.thing_dataset_id_to_contiguous_id[number] == number - 1


def test_a_file_with_other_classes_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    classes = [*builtin.THING_CLASSES["ovis"][:-1], "Vehicle"]
    place(tmp_path, "ovis/annotations/train.json", "ovis/train", classes)
    with pytest.raises(ValueError, match=r"train\.json.*'Vehicle', expected 'Vehical'"):
        DatasetCatalog.get("ovis_train")


@pytest.mark.parametrize(
    ("dataset", "pairs", "targets"),
    [("ytvis_2019", 21, 19), ("ytvis_2021", 23, 21), ("ovis", 17, 15)],
)
def test_coco_maps_join_the_same_things(dataset, pairs, targets):
    """Names agree except for the known approximations and other words for the same thing."""
    coco = MetadataCatalog.get("coco_2017_val")
    from_id = {v: k for k, v in coco.thing_dataset_id_to_contiguous_id.items()}
    names = {from_id[i]: name for i, name in enumerate(coco.thing_classes)}
    id_map, classes = builtin.COCO_ID_MAPS[dataset], builtin.THING_CLASSES[dataset]
    assert (len(id_map), len(set(id_map.values()))) == (pairs, targets)
    words = {
        "bicycle": {"motorbike"},
        "motorcycle": {"motorbike"},
        "car": {"sedan", "vehical"},
        "bus": {"vehical"},
        "truck": {"vehical"},
        "skis": {"snowboard"},
        "frisbee": {"flying_disc"},
    }
    for coco_id, other_id in id_map.items():
        name, other = names[coco_id], classes[other_id - 1].lower()
        assert other == name.replace(" ", "_") or other in words[name]


def test_a_name_taken_by_another_package_is_left_alone(caplog):
    DatasetCatalog.remove("ytvis_2019_train")
    DatasetCatalog.register("ytvis_2019_train", lambda: [{"annotations": []}])
    with caplog.at_level(logging.DEBUG, logger=builtin.__name__):
        builtin.register_builtin_datasets()
    assert DatasetCatalog.get("ytvis_2019_train") == [{"annotations": []}]
    assert "ytvis_2019_train" in caplog.text


def test_importing_again_changes_nothing():
    before = set(DatasetCatalog)
    importlib.reload(builtin).register_builtin_datasets()
    assert set(DatasetCatalog) == before
