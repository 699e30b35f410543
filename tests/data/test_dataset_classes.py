"""Which class of one data set means which of another."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from mobileinst_core.ytvis.classes import THING_CLASSES
from mobileinst_d2.data.datasets.classes import corresponding_classes, dataset_class_names


def test_elsewhere_names_match_but_for_their_writing():
    assert corresponding_classes(["Tennis Racket", "ant", "dog"], ["DOG", "tennis-racket"]) == {
        0: 1,
        2: 0,
    }
    assert corresponding_classes(["ant"], ["bee"]) == {}


def test_a_data_set_is_loaded_for_its_classes_only_if_need_be():
    DatasetCatalog.register("silent", lambda: [])
    with pytest.raises(ValueError, match="'silent' has no thing_classes"):
        dataset_class_names("silent")
    assert dataset_class_names("ovis_train") == THING_CLASSES["ovis"]

    def load():
        MetadataCatalog.get("late").thing_classes = ["ant"]
        return []

    DatasetCatalog.register("late", load)
    assert dataset_class_names("late") == ["ant"]


def test_a_public_set_without_a_map_from_coco_is_matched_by_names(monkeypatch):
    coco = dataset_class_names("coco_2017_train")
    monkeypatch.setitem(THING_CLASSES, "new_vis", ["dragon", "Tennis_Racket"])
    found = corresponding_classes(coco, ["dragon", "Tennis_Racket"])
    assert found == {coco.index("tennis racket"): 1}
