"""Images that a function of one's own gives, in the format of Detectron2, in an evaluation."""

import json

import numpy as np
import pytest
import torch
from detectron2.config import get_cfg
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import Boxes, BoxMode, Instances

from mobileinst_core.errors import ConfigError
from mobileinst_d2.data.checks import check_own_records
from mobileinst_d2.data.datasets.own_records import coco_content
from mobileinst_d2.evaluation.coco import COCOInstanceEvaluator

SIZE = (40, 50)
NAME = "own_records"


def block() -> np.ndarray:
    mask = np.zeros(SIZE, np.uint8)
    mask[5:25, 10:40] = 1
    return mask


POLYGON = [10, 5, 40, 5, 40, 25, 10, 25]
MASKS = {
    "polygons": [POLYGON],
    "arrays of points": [np.array(POLYGON, np.float32)],
    "pixels": block(),
    "booleans": block().astype(bool),
    "run lengths": {"size": list(SIZE), "counts": [405, *[20, 20] * 29, 20, 415]},
}


def record(segmentation, **annotation) -> dict:
    return {
        "file_name": "a.jpg",
        "image_id": 3,
        "height": SIZE[0],
        "width": SIZE[1],
        "annotations": [{"category_id": 1, "segmentation": segmentation, **annotation}],
    }


@pytest.fixture(autouse=True)
def metadata():
    MetadataCatalog.get(NAME).set(thing_classes=["cat", "dog"], evaluator_type="coco")
    yield
    MetadataCatalog.pop(NAME)
    if NAME in DatasetCatalog.list():
        DatasetCatalog.remove(NAME)


def register(*records) -> None:
    if NAME in DatasetCatalog.list():
        DatasetCatalog.remove(NAME)
    DatasetCatalog.register(NAME, lambda: list(records))


def evaluate(mask: np.ndarray, label: int, folder=None, image_id=3) -> float:
    evaluator = COCOInstanceEvaluator(NAME, folder, distributed=False)
    found = Instances(SIZE, scores=torch.ones(1), pred_classes=torch.tensor([label]))
    found.pred_masks = torch.from_numpy(mask.astype(bool))[None]
    found.pred_boxes = Boxes(torch.zeros(1, 4))
    evaluator.process([{"image_id": image_id}], [{"instances": found}])
    return evaluator.evaluate()["segm"]["AP"]


@pytest.mark.parametrize("segmentation", MASKS.values(), ids=MASKS)
def test_masks_of_any_form_are_evaluated_without_boxes(segmentation, tmp_path):
    register(record(segmentation))
    assert evaluate(block(), 1, str(tmp_path)) == pytest.approx(100)
    assert evaluate(block(), 0) == 0
    content = json.loads((tmp_path / f"{NAME}_coco_format.json").read_text())
    assert content["categories"] == [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}]
    assert [image["id"] for image in content["images"]] == [3]


def test_images_may_have_text_as_ids(tmp_path):
    register(record(block()) | {"image_id": "b"}, record(np.roll(block(), 10)) | {"image_id": "a"})
    assert evaluate(block(), 1, str(tmp_path), image_id="b") == pytest.approx(50, abs=1)
    content = json.loads((tmp_path / f"{NAME}_coco_format.json").read_text())
    assert [(x["id"], x["image_id"]) for x in content["images"]] == [(1, "b"), (2, "a")]
    results = json.loads((tmp_path / "coco_instances_results.json").read_text())
    assert [x["image_id"] for x in results] == [1]


def test_the_file_of_an_earlier_run_does_not_count(tmp_path):
    register(record(np.roll(block(), 10, axis=0)))
    assert evaluate(block(), 1, str(tmp_path)) < 50
    MetadataCatalog.pop(NAME)  # as in a new process
    MetadataCatalog.get(NAME).set(thing_classes=["cat", "dog"], evaluator_type="coco")
    register(record(block()))
    assert evaluate(block(), 1, str(tmp_path)) == pytest.approx(100)


def test_ids_are_those_of_the_metadata():
    MetadataCatalog.get(NAME).thing_dataset_id_to_contiguous_id = {7: 0, 20: 1}
    content = coco_content(NAME, [record(block(), bbox=[1, 2, 4, 8], bbox_mode=BoxMode.XYXY_ABS)])
    assert [category["id"] for category in content["categories"]] == [7, 20]
    (annotation,) = content["annotations"]
    assert (annotation["category_id"], annotation["bbox"]) == (20, [1, 2, 3, 6])


FAULTS = {
    "has no 'image_id' to": lambda x: x.pop("image_id"),
    "has no 'height', 'width' to": lambda x: (x.pop("height"), x.pop("width")),
    "has no 'annotations' to": lambda x: x.pop("annotations"),
    r"image_id 3\.5, neither": lambda x: x.update(image_id=3.5),
    "image_id 4 of another": lambda x: x.update(image_id=4),
    "category_id 2; .* 2 classes": lambda x: x["annotations"][0].update(category_id=2),
    "no bbox_mode": lambda x: x["annotations"][0].update(bbox=[1, 2, 3, 4]),
    r"shape \[2, 2\]": lambda x: x["annotations"][0].update(segmentation=np.ones((2, 2))),
}


@pytest.mark.parametrize(("message", "damage"), FAULTS.items(), ids=FAULTS)
def test_faults_name_the_record(message, damage):
    faulty = record(block())
    damage(faulty)
    with pytest.raises(ConfigError, match=rf"record 1 of .*'{NAME}' \(a\.jpg\) .*{message}"):
        coco_content(NAME, [record(block()) | {"image_id": 4}, faulty])


def test_faults_are_told_before_a_training():
    register(record(block()), record(block()) | {"image_id": 3.5})
    cfg = get_cfg()
    cfg.DATASETS.TEST = (NAME,)
    with pytest.raises(ConfigError, match=r"image_id 3\.5"):
        check_own_records(cfg)
