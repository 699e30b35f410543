"""COCO AP: areas from masks, original category ids, zero without predictions."""

import json
import logging
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from annotation_files import compressed
from detectron2.data import MetadataCatalog
from detectron2.evaluation import COCOEvaluator
from detectron2.structures import BitMasks, Instances
from pycocotools import mask as mask_util

from mobileinst_core.masks.rle import encode_mask
from mobileinst_d2.data.datasets import load_coco_json
from mobileinst_d2.evaluation import COCOInstanceEvaluator

SIZE = (80, 100)
CATEGORIES = [{"id": 90, "name": "zebra"}, {"id": 4, "name": "boat"}]


def cross() -> np.ndarray:
    """A thin mask (small by its area) in a wide box (medium by its area)."""
    mask = np.zeros(SIZE, bool)
    mask[40, 10:90] = True
    mask[5:75, 50] = True
    return mask


def block() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[10:70, 10:70] = True
    return mask


def annotation(annotation_id, image_id, category_id, mask) -> dict:
    ids = {"id": annotation_id, "image_id": image_id, "category_id": category_id}
    return {**ids, "segmentation": compressed(mask)}


def instances(*predictions, size=SIZE) -> Instances:
    """``predictions`` are (score, class, mask)."""
    result = Instances(size)
    masks = np.array([mask for _, _, mask in predictions], bool).reshape(-1, *size)
    result.pred_masks = torch.from_numpy(masks)
    result.pred_boxes = BitMasks(result.pred_masks).get_bounding_boxes()
    result.scores = torch.tensor([score for score, _, _ in predictions])
    result.pred_classes = torch.tensor([label for _, label, _ in predictions], dtype=torch.int64)
    return result


@pytest.fixture
def dataset_name(write_json):
    """Two images of one object each; no ``info``, and not loaded by Detectron2."""
    content = {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in (11, 12)],
        "categories": CATEGORIES,
        "annotations": [annotation(1, 11, 90, cross()), annotation(2, 12, 4, block())],
    }
    metadata = MetadataCatalog.get("two_images")
    metadata.set(json_file=str(write_json(content)), thing_classes=["boat", "zebra"])
    return "two_images"


def evaluate(evaluator, predictions) -> dict:
    evaluator.reset()
    for image_id, prediction in predictions.items():
        evaluator.process([{"image_id": image_id}], [{"instances": prediction}])
    return evaluator.evaluate()


def test_areas_come_from_the_masks(dataset_name):
    # A wrong cross would be medium by its box, and then count against the medium block.
    predictions = {
        11: instances((0.9, 1, cross()), (0.8, 0, cross())),
        12: instances((0.7, 0, block())),
    }
    metrics = evaluate(COCOInstanceEvaluator(dataset_name), predictions)
    assert metrics.keys() == {"segm"}
    assert metrics["segm"]["APs"] == metrics["segm"]["APm"] == pytest.approx(100)
    assert metrics["segm"]["AP-zebra"] == pytest.approx(100)
    assert metrics["segm"]["AP-boat"] == pytest.approx(50)


def test_results_file_has_original_ids_and_tight_boxes(dataset_name, tmp_path):
    predictions = {11: instances((0.5, 1, cross())), 12: instances((0.25, 0, block()))}
    for prediction in predictions.values():  # as of models that leave boxes to others
        prediction.pred_boxes.tensor.zero_()
    evaluate(COCOInstanceEvaluator(dataset_name, str(tmp_path / "out")), predictions)
    results = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    keys = {"image_id", "category_id", "score", "segmentation", "bbox"}
    assert [entry.keys() for entry in results] == [keys, keys]
    assert [(r["image_id"], r["category_id"], r["score"]) for r in results] == [
        (11, 90, 0.5),
        (12, 4, 0.25),
    ]
    assert np.array_equal(mask_util.decode([results[0]["segmentation"]])[..., 0], cross())
    assert [entry["bbox"] for entry in results] == [[10, 5, 80, 70], [10, 10, 60, 60]]


def test_masks_that_come_encoded(dataset_name, tmp_path):
    predictions = {
        11: instances((0.9, 1, cross()), (0.8, 0, block())),
        12: instances((0.7, 0, block())),
    }
    metrics, files = [], []
    for _ in range(2):
        evaluator = COCOInstanceEvaluator(dataset_name, str(tmp_path), distributed=False)
        metrics.append(evaluate(evaluator, predictions))
        files.append((tmp_path / "coco_instances_results.json").read_text())
        for prediction in predictions.values():
            if prediction.has("pred_masks"):
                masks = prediction.pred_masks.numpy()
                prediction.pred_rles = [encode_mask(mask) for mask in masks]
                prediction.remove("pred_masks")
    assert repr(metrics[0]) == repr(metrics[1])
    assert files[0] == files[1]


def test_no_predictions_score_zero(dataset_name):
    evaluator = COCOInstanceEvaluator(dataset_name, tasks=("segm", "bbox"))
    metrics = evaluate(evaluator, {11: instances(), 12: instances()})
    for task in ("segm", "bbox"):
        assert metrics[task]["AP"] == metrics[task]["AP-boat"] == 0
    assert metrics["segm"]["APs"] == metrics["segm"]["APm"] == 0
    assert math.isnan(metrics["segm"]["APl"])


def test_boxes_alone_are_evaluated_without_masks(dataset_name, tmp_path):
    predictions = {11: instances((0.9, 1, cross())), 12: instances((0.7, 1, block()))}
    for prediction in predictions.values():
        prediction.remove("pred_masks")
    evaluator = COCOInstanceEvaluator(dataset_name, str(tmp_path / "out"), tasks=("bbox",))
    metrics = evaluate(evaluator, predictions)
    assert metrics.keys() == {"bbox"}
    assert metrics["bbox"]["AP-zebra"] == pytest.approx(100)
    assert metrics["bbox"]["AP-boat"] == 0
    results = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    assert [entry["bbox"] for entry in results] == [[10, 5, 80, 70], [10, 10, 60, 60]]


def test_boxes_and_masks_of_a_detector_are_evaluated_apart(dataset_name):
    # A filled box has the bounds of the cross, and another shape.
    filled = np.zeros(SIZE, bool)
    filled[5:75, 10:90] = True
    predictions = {11: instances((0.9, 1, filled)), 12: instances((0.7, 0, block()))}
    metrics = evaluate(COCOInstanceEvaluator(dataset_name, tasks=("bbox", "segm")), predictions)
    assert metrics["bbox"]["AP"] == pytest.approx(100)
    assert metrics["segm"]["AP-boat"] == pytest.approx(100)
    assert metrics["segm"]["AP-zebra"] == 0


def test_tables_and_metrics_show_the_classes_that_occur(dataset_name, caplog):
    path = Path(MetadataCatalog.get(dataset_name).json_file)
    content = json.loads(path.read_text())
    path.write_text(json.dumps(content | {"annotations": content["annotations"][:1]}))
    predictions = {11: instances((0.9, 1, cross())), 12: instances((0.9, 0, block()))}
    with caplog.at_level(logging.INFO):
        metrics = evaluate(COCOInstanceEvaluator(dataset_name), predictions)["segm"]
    assert {name for name in metrics if name.startswith("AP-")} == {"AP-zebra"}
    assert "boat" not in caplog.text
    assert "1 classes have no ground truth" in caplog.text


def test_metrics_are_those_of_detectron2(moving_shapes, write_json):
    """Of ground truth, some of it crowds, and shifted copies of it as predictions."""
    content = json.loads((moving_shapes / "train" / "coco.json").read_text())
    for entry in content["annotations"][::5]:
        entry["iscrowd"] = 1
    path = write_json(content | {"info": {}})
    records = load_coco_json(path, "images", "shapes")
    MetadataCatalog.get("shapes").json_file = str(path)
    rng = np.random.default_rng(0)
    ours = COCOInstanceEvaluator("shapes", distributed=False)
    theirs = COCOEvaluator("shapes", ("segm",), False, use_fast_impl=False)
    for evaluator in (ours, theirs):
        evaluator.reset()
    for record in records:
        masks = [mask_util.decode(x["segmentation"]).astype(bool) for x in record["annotations"]]
        predicted = [
            (float(rng.random()), x["category_id"], np.roll(mask, rng.integers(-9, 9), axis=1))
            for x, mask in zip(record["annotations"], masks, strict=True)
        ]
        for evaluator in (ours, theirs):
            output = instances(*predicted, size=(record["height"], record["width"]))
            evaluator.process([record], [{"instances": output}])
    found, expected = (evaluator.evaluate()["segm"] for evaluator in (ours, theirs))
    assert 0 < expected["AP"] < 90
    assert found == pytest.approx(expected, abs=1e-9, nan_ok=True)
