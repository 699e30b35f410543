"""Where class names come from, in order of trust."""

import logging

import pytest
from config_files import default_config
from detectron2.data import MetadataCatalog

from mobileinst_d2.utils.classes import METADATA_FILE, category_ids, class_names, save_class_names


@pytest.fixture
def cfg():
    cfg = default_config()
    cfg.MODEL.NUM_CLASSES = 3
    cfg.DATASETS.TEST = ()
    cfg.MODEL.WEIGHTS = ""
    return cfg


@pytest.fixture
def dataset():
    name = "classes_test_pets"
    MetadataCatalog.get(name).set(thing_classes=["cat", "dog", "parrot"])
    return name


def test_names_next_to_the_weights_win_then_those_of_the_data_set(cfg, dataset, tmp_path):
    MetadataCatalog.get("classes_test_lazy").set(evaluator_type="coco")  # without names yet
    for name in ("classes_test_unknown", "classes_test_lazy"):
        cfg.DATASETS.TEST = (name,)
        assert class_names(cfg) == ["class 0", "class 1", "class 2"]
    assert "classes_test_unknown" not in MetadataCatalog.list()
    cfg.DATASETS.TEST = (dataset,)
    cfg.MODEL.WEIGHTS = str(tmp_path / "run" / "model_final.pth")
    assert class_names(cfg) == ["cat", "dog", "parrot"]
    save_class_names(tmp_path / "run", ["red", "größe", "blue"])
    assert class_names(cfg) == ["red", "größe", "blue"]


def test_names_of_another_model_are_passed_over_with_a_warning(cfg, dataset, tmp_path, caplog):
    save_class_names(tmp_path, ["only one"])
    cfg.MODEL.WEIGHTS = str(tmp_path / "model_final.pth")
    cfg.DATASETS.TEST = (dataset,)
    with caplog.at_level(logging.WARNING):
        assert class_names(cfg) == ["cat", "dog", "parrot"]
    assert "names 1 classes, but MODEL.NUM_CLASSES is 3" in caplog.text


def test_category_ids_come_from_the_weights_then_the_dataset_then_count_from_one(
    cfg, dataset, tmp_path, caplog
):
    assert category_ids(cfg) == [1, 2, 3]
    assert "numbered 1 to 3" in caplog.text
    MetadataCatalog.get(dataset).thing_dataset_id_to_contiguous_id = {30: 0, 7: 2, 20: 1}
    cfg.DATASETS.TEST = (dataset,)
    assert category_ids(cfg) == [30, 20, 7]
    cfg.MODEL.WEIGHTS = str(tmp_path / "model_final.pth")
    save_class_names(tmp_path, ["cat", "dog", "parrot"])
    assert category_ids(cfg) == [30, 20, 7]
    save_class_names(tmp_path, ["cat", "dog", "parrot"], [3, 1, 2])
    assert category_ids(cfg) == [3, 1, 2]
    assert class_names(cfg) == ["cat", "dog", "parrot"]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"classes": []}',
        '{"thing_classes": 3}',
        '{"thing_classes": ["a"], "category_ids": ["b"]}',
    ],
)
def test_damaged_file_is_named(cfg, tmp_path, text):
    (tmp_path / METADATA_FILE).write_text(text)
    cfg.MODEL.WEIGHTS = str(tmp_path / "model_final.pth")
    with pytest.raises(ValueError, match=r"metadata\.json is damaged"):
        class_names(cfg)
