"""Which class of one data set means which of another."""

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

from mobileinst_core.ytvis.classes import COCO_ID_MAPS, THING_CLASSES
from mobileinst_d2.data.datasets.classes import corresponding_classes, dataset_class_names

COCO = [item["name"] for item in COCO_CATEGORIES if item["isthing"]]


@pytest.mark.parametrize("dataset", THING_CLASSES)
def test_from_coco_the_customary_maps_hold(dataset):
    target = THING_CLASSES[dataset]
    found = corresponding_classes(COCO, target)
    assert len(found) == len(COCO_ID_MAPS[dataset])
    named = {COCO[i]: target[j] for i, j in found.items()}
    assert named["person"].lower() == "person"
    # Equal names of other things stay apart.
    assert "mouse" not in named


def test_several_coco_classes_may_mean_one():
    found = corresponding_classes(COCO, THING_CLASSES["ytvis_2019"])
    motorbike = THING_CLASSES["ytvis_2019"].index("motorbike")
    assert [COCO[i] for i, j in found.items() if j == motorbike] == ["bicycle", "motorcycle"]


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
