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
