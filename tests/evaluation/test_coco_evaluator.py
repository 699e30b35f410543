"""COCO AP: areas from masks, original category ids, zero without predictions."""

import json
import math

import numpy as np
import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.structures import BitMasks, Instances
from pycocotools import mask as mask_util

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
    code = mask_util.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {
        "id": annotation_id,
        "image_id": image_id,
        "category_id": category_id,
        "iscrowd": 0,
        "area": int(mask.sum()),
        "bbox": mask_util.toBbox(code).tolist(),
        "segmentation": {"size": list(SIZE), "counts": code["counts"].decode()},
    }


def instances(*predictions) -> Instances:
    """``predictions`` are (score, class, mask)."""
    result = Instances(SIZE)
    masks = np.array([mask for _, _, mask in predictions], bool).reshape(-1, *SIZE)
    result.pred_masks = torch.from_numpy(masks)
    result.pred_boxes = BitMasks(result.pred_masks).get_bounding_boxes()
    result.scores = torch.tensor([score for score, _, _ in predictions])
    result.pred_classes = torch.tensor([label for _, label, _ in predictions], dtype=torch.int64)
    return result


@pytest.fixture
def dataset_name(tmp_path, request):
    """Two images of one object each; no ``info``, and not loaded by Detectron2."""
    content = {
        "images": [{"id": i, "height": SIZE[0], "width": SIZE[1]} for i in (11, 12)],
        "categories": CATEGORIES,
        "annotations": [annotation(1, 11, 90, cross()), annotation(2, 12, 4, block())],
    }
    (tmp_path / "coco.json").write_text(json.dumps(content))
    name = request.node.name
    MetadataCatalog.get(name).set(
        json_file=str(tmp_path / "coco.json"), thing_classes=["boat", "zebra"]
    )
    yield name
    MetadataCatalog.remove(name)


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


def test_results_file_has_original_ids_and_no_boxes(dataset_name, tmp_path):
    predictions = {11: instances((0.5, 1, cross())), 12: instances((0.25, 0, block()))}
    evaluate(COCOInstanceEvaluator(dataset_name, str(tmp_path / "out")), predictions)
    results = json.loads((tmp_path / "out" / "coco_instances_results.json").read_text())
    keys = {"image_id", "category_id", "score", "segmentation"}
    assert [entry.keys() for entry in results] == [keys, keys]
    assert [(r["image_id"], r["category_id"], r["score"]) for r in results] == [
        (11, 90, 0.5),
        (12, 4, 0.25),
    ]
    assert np.array_equal(mask_util.decode([results[0]["segmentation"]])[..., 0], cross())


def test_no_predictions_score_zero(dataset_name):
    metrics = evaluate(COCOInstanceEvaluator(dataset_name), {11: instances(), 12: instances()})[
        "segm"
    ]
    assert metrics["AP"] == metrics["APs"] == metrics["APm"] == metrics["AP-boat"] == 0
    assert math.isnan(metrics["APl"])


def test_empty_masks_are_evaluated(dataset_name):
    nothing = instances((0.9, 1, np.zeros(SIZE)))
    metrics = evaluate(COCOInstanceEvaluator(dataset_name), {11: nothing, 12: instances()})
    assert metrics["segm"]["AP"] == 0


def test_instances_without_masks_are_refused(dataset_name):
    boxes = instances((0.9, 1, cross()))
    boxes.remove("pred_masks")
    with pytest.raises(ValueError, match="image 11 has no masks"):
        evaluate(COCOInstanceEvaluator(dataset_name), {11: boxes})


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


def test_no_boxes_score_zero(dataset_name):
    evaluator = COCOInstanceEvaluator(dataset_name, tasks=("bbox",))
    assert evaluate(evaluator, {11: instances(), 12: instances()})["bbox"]["AP"] == 0
