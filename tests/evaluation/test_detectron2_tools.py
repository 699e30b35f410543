"""Detectron2's ``tools/visualize_json_results.py`` draws what the evaluator writes.

Its wheel has no tools. What that one does with a file of results is done here, by what it takes:
boxes as (x, y, w, h), category ids of the data set, run-length codes.
"""

import json
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.structures import BitMasks, Boxes, BoxMode, Instances
from detectron2.utils.visualizer import Visualizer

from mobileinst_d2.data.datasets import register_coco_json
from mobileinst_d2.evaluation import COCOInstanceEvaluator

NAME = "visualized"


def visualize(
    results: Path, dataset: str, threshold: float, count: int | None = None
) -> dict[int, tuple]:
    """Per image what was drawn, and what it was drawn from."""
    by_image = defaultdict(list)
    for entry in json.loads(results.read_text()):
        by_image[entry["image_id"]].append(entry)
    metadata, drawn = MetadataCatalog.get(dataset), {}
    for record in DatasetCatalog.get(dataset)[:count]:
        image = cv2.imread(record["file_name"], cv2.IMREAD_COLOR)[:, :, ::-1]
        chosen = [x for x in by_image[record["image_id"]] if x["score"] > threshold]
        instances = Instances(image.shape[:2])
        instances.scores = np.asarray([x["score"] for x in chosen])
        boxes = np.asarray([x["bbox"] for x in chosen]).reshape(-1, 4)
        instances.pred_boxes = Boxes(BoxMode.convert(boxes, BoxMode.XYWH_ABS, BoxMode.XYXY_ABS))
        contiguous = metadata.thing_dataset_id_to_contiguous_id
        instances.pred_classes = np.asarray([contiguous[x["category_id"]] for x in chosen])
        instances.pred_masks = [x["segmentation"] for x in chosen]
        predicted = Visualizer(image, metadata).draw_instance_predictions(instances).get_image()
        truth = Visualizer(image, metadata).draw_dataset_dict(record).get_image()
        assert predicted.shape == truth.shape
        drawn[record["image_id"]] = image, predicted, instances
    return drawn


@pytest.fixture
def dataset(moving_shapes):
    folder = moving_shapes / "val"
    register_coco_json(NAME, folder / "coco.json", folder / "JPEGImages")
    return DatasetCatalog.get(NAME)


def test_results_are_drawn_with_boxes_classes_and_masks(dataset, tmp_path):
    evaluator = COCOInstanceEvaluator(NAME, str(tmp_path))
    evaluator.reset()
    mask = np.zeros((2, 48, 64), bool)
    mask[0, 10:30, 20:50] = mask[1, 40:44, 1:5] = True
    for record in dataset[1:]:  # the first has no results
        found = Instances((48, 64))
        found.pred_masks = torch.from_numpy(mask)
        # Most systems here have none of their own.
        found.pred_boxes = BitMasks(found.pred_masks).get_bounding_boxes()
        found.scores, found.pred_classes = torch.tensor([0.9, 0.2]), torch.tensor([1, 0])
        evaluator.process([record], [{"instances": found}])
    evaluator.evaluate()
    drawn = visualize(tmp_path / "coco_instances_results.json", NAME, 0.5)
    assert len(drawn) == len(dataset)
    image, predicted, instances = drawn.pop(dataset[0]["image_id"])
    assert len(instances) == 0
    assert np.array_equal(image, predicted)
    for image, predicted, instances in drawn.values():
        assert instances.pred_boxes.tensor.tolist() == [[20, 10, 50, 30]]
        assert instances.pred_classes.tolist() == [1]
        changed = (image != predicted).any(2)
        assert changed[12:28, 22:48].mean() > 0.9
        assert not changed[38:46, :7].any()
