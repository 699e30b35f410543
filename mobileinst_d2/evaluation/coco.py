"""COCO evaluation of instance masks and boxes."""

import contextlib
import io
import itertools
import json
import logging
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager
from detectron2.utils.logger import create_small_table
from pycocotools import mask as mask_util
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mobileinst_core.coco.records import load_ground_truth
from mobileinst_core.errors import UserError
from mobileinst_core.masks.rle import encode_mask
from mobileinst_core.ytvis.evaluate import class_table
from mobileinst_d2.data.datasets.coco import load_images
from mobileinst_d2.data.datasets.own_records import coco_content
from mobileinst_d2.data.datasets.registration import local_annotation_file

try:
    # It gives the same numbers in a third of the time.
    from faster_coco_eval import COCOeval_faster
except ImportError:
    COCOeval_faster = None

__all__ = ["COCOInstanceEvaluator"]

logger = logging.getLogger(__name__)


class COCOInstanceEvaluator(DatasetEvaluator):
    """Mask AP, box AP or both, by pycocotools, or by faster-coco-eval if that is installed.

    In place of Detectron2's ``COCOEvaluator``, of which it writes the same files. The ground truth
    is read by `mobileinst_core.coco`, with its checks and with what it mends. A model that predicts
    nothing has AP 0, not an undefined one; classes without ground truth have no AP.

    Models whose boxes are only the bounds of their masks are evaluated on masks alone. In
    ``coco_instances_results.json`` each instance has the tight box of its mask, which Detectron2's
    tools read. Areas are those of the masks: pycocotools alone, given this file, would take them
    from the boxes, as for every file that Detectron2 writes.
    """

    # The first of what COCOeval summarizes.
    METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl")

    def __init__(
        self,
        dataset_name: str,
        output_dir: str | None = None,
        distributed: bool = True,
        *,
        tasks: Sequence[str] = ("segm",),
    ) -> None:
        """Read the ground truth.

        Args:
            dataset_name: a registered data set in COCO format, or in Detectron2's own format,
                which is written to ``output_dir``, too.
            output_dir: folder for the results; None writes none.
            distributed: collect the predictions of all processes and evaluate in the main one;
                otherwise each process evaluates its own.
            tasks: what to evaluate, "segm" and "bbox".

        Raises:
            UserError: the annotation file, or a record, is missing or malformed.
        """
        self._dataset_name = dataset_name
        self._output_dir = output_dir
        self._distributed = distributed
        self._tasks = tuple(tasks)
        self._metadata = MetadataCatalog.get(dataset_name)
        path, content = self._find_truth()
        self._truth = load_ground_truth(path, with_masks="segm" in self._tasks, content=content)
        # Where records have text as ids, of which the metric knows nothing.
        self._image_ids = {x["image_id"]: x["id"] for x in content["images"]} if content else {}
        id_map = self._metadata.get("thing_dataset_id_to_contiguous_id")
        if id_map is None:
            # As the loader does, number the categories by ascending id.
            category_ids = [category["id"] for category in self._truth["categories"]]
            id_map = {category_id: label for label, category_id in enumerate(category_ids)}
            self._metadata.thing_dataset_id_to_contiguous_id = id_map
        self._category_ids = {label: category_id for category_id, label in id_map.items()}
        self._predictions: list[dict[str, Any]] = []

    def _find_truth(self) -> tuple[str, dict[str, Any] | None]:
        """The annotation file; of a data set without one what it would be, and its content."""
        path = self._metadata.get("json_file")
        if path is not None:
            return local_annotation_file(path, self._dataset_name), None
        content = coco_content(self._dataset_name, load_images(self._dataset_name))
        path = f"{self._dataset_name}_coco_format.json"
        if self._output_dir and comm.is_main_process():
            PathManager.mkdirs(self._output_dir)
            path = os.path.join(self._output_dir, path)
            with PathManager.open(path, "w") as file:
                file.write(json.dumps(content))
        return path, content

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions = []

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Keep the predictions of images.

        Args:
            inputs: the records that the model received, with ``image_id``.
            outputs: what it returned for each: ``instances`` of the original image size with
                ``pred_boxes``, ``scores``, ``pred_classes`` and, if masks are to be evaluated,
                ``pred_masks`` or ``pred_rles``.

        Raises:
            UserError: the model has more classes than the data set.
            ValueError: the instances have no masks to evaluate.
        """
        for record, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to("cpu")
            has_masks = instances.has("pred_masks") or instances.has("pred_rles")
            if "segm" in self._tasks and not has_masks:
                raise ValueError(f"the prediction of image {record['image_id']} has no masks")
            image_id = self._image_ids.get(record["image_id"], record["image_id"])
            entries = _entries(instances, image_id)
            for entry in entries:
                if entry["category_id"] not in self._category_ids:
                    raise UserError(
                        f"the model predicts class {entry['category_id']}, but the data set "
                        f"'{self._dataset_name}' has only {len(self._category_ids)}; set "
                        "MODEL.NUM_CLASSES to match"
                    )
                if "bbox" not in self._tasks:
                    entry["bbox"] = mask_util.toBbox(entry["segmentation"]).tolist()
            self._predictions.append({"image_id": image_id, "instances": entries})

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Write the results and score them.

        Returns:
            For each task the metrics in percent, AP, AP50, AP75, APs, APm, APl, which are nan if
            the ground truth has no object of that size, and ``AP-<name>`` for each class of which
            there is ground truth. Empty without annotations, and outside of the main process.
        """
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            predictions = list(itertools.chain.from_iterable(comm.gather(predictions, dst=0)))
            if not comm.is_main_process():
                return OrderedDict()
        entries = [
            {**entry, "category_id": self._category_ids[entry["category_id"]]}
            for prediction in predictions
            for entry in prediction["instances"]
        ]
        if self._output_dir:
            self._write(predictions, entries)
        if "annotations" not in self._truth:
            logger.info("'%s' has no annotations here and is not scored.", self._dataset_name)
            return OrderedDict()
        return OrderedDict((task, self._score(task, entries)) for task in sorted(self._tasks))

    def _write(self, predictions: list[dict[str, Any]], entries: list[dict[str, Any]]) -> None:
        PathManager.mkdirs(self._output_dir)
        path = os.path.join(self._output_dir, "instances_predictions.pth")
        with PathManager.open(path, "wb") as file:
            torch.save(predictions, file)
        path = os.path.join(self._output_dir, "coco_instances_results.json")
        with PathManager.open(path, "w") as file:
            file.write(json.dumps(entries))
        logger.info("%d instances written to %s", len(entries), path)

    def _score(self, task: str, entries: list[dict[str, Any]]) -> dict[str, float]:
        """Metrics of one task in percent."""
        report = io.StringIO()
        # pycocotools reports by print.
        with contextlib.redirect_stdout(report):
            truth = _index(self._truth)
            found = self._load_results(truth, task, entries)
            if COCOeval_faster is None:
                evaluation = COCOeval(truth, found, task)
            else:
                evaluation = COCOeval_faster(truth, found, task, print_function=print)
            evaluation.evaluate()
            evaluation.accumulate()
            report.seek(0)
            report.truncate()
            evaluation.summarize()
        logger.info("%s of '%s':\n%s", task, self._dataset_name, report.getvalue().rstrip())
        metrics = {
            name: float(value) * 100 if value >= 0 else float("nan")
            for name, value in zip(self.METRICS, evaluation.stats, strict=False)
        }
        logger.info("Evaluation results for %s:\n%s", task, create_small_table(metrics))
        names = [category["name"] for category in self._truth["categories"]]
        if len(names) > 1:
            per_class = _ap_of_classes(evaluation, names)
            logger.info("%s AP of classes:\n%s", task, class_table(per_class))
            if absent := len(names) - len(per_class):
                logger.info("%d classes have no ground truth.", absent)
            metrics |= {f"AP-{name}": ap for name, ap in per_class.items()}
        return metrics

    def _load_results(self, truth: COCO, task: str, entries: list[dict[str, Any]]) -> COCO:
        """Results as pycocotools wants them."""
        if not entries:
            # It cannot load an empty list.
            return _index({**self._truth, "annotations": []})
        # With a box, an area is that of the box, and small, medium and large change their meaning.
        unused = "bbox" if task == "segm" else "segmentation"
        return truth.loadRes(
            [{key: value for key, value in entry.items() if key != unused} for entry in entries]
        )


def _entries(instances: Instances, image_id: int) -> list[dict[str, Any]]:
    """Instances in the form of COCO's result files."""
    fields = dict(instances.get_fields())
    masks, rles = fields.pop("pred_masks", ()), fields.pop("pred_rles", ())
    entries = instances_to_coco_json(Instances(instances.image_size, **fields), image_id)
    rles = rles or (encode_mask(np.asarray(mask)) for mask in masks)
    for entry, rle in zip(entries, rles, strict=False):
        entry["segmentation"] = dict(rle)
    return entries


def _index(content: dict[str, Any]) -> COCO:
    """The content of an annotation file in pycocotools, which writes into it."""
    coco = COCO()
    coco.dataset = {**content, "annotations": [dict(entry) for entry in content["annotations"]]}
    coco.createIndex()
    return coco


def _ap_of_classes(evaluation: COCOeval, names: Sequence[str]) -> dict[str, float]:
    """AP in percent of each class of which there is ground truth."""
    result = {}
    for index, name in enumerate(names):
        # All areas, and the most detections per image.
        precision = evaluation.eval["precision"][:, :, index, 0, -1]
        precision = precision[precision > -1]
        if precision.size:
            result[name] = float(precision.mean()) * 100
    return result
