"""COCO evaluation of instance masks and boxes."""

import contextlib
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from detectron2.evaluation import COCOEvaluator
from detectron2.evaluation.coco_evaluation import instances_to_coco_json
from detectron2.structures import Instances
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from mobileinst_core.masks.crop_rle import encode_around_foreground

__all__ = ["COCOInstanceEvaluator"]


class COCOInstanceEvaluator(COCOEvaluator):
    """Mask AP, box AP or both, by pycocotools.

    Models whose boxes are only the bounds of their masks are evaluated on masks alone. Their
    ``coco_instances_results.json`` has no ``bbox``: with it, an evaluation of the file takes the
    area of an instance from its box, and small, medium and large change their meaning. A model
    that predicts nothing has AP 0, not an undefined one.
    """

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
                which is converted to ``output_dir``.
            output_dir: folder for the results; None writes none.
            distributed: collect the predictions of all processes and evaluate in the main one;
                otherwise each process evaluates its own.
            tasks: what to evaluate, "segm" and "bbox".
        """
        super().__init__(
            dataset_name,
            tasks=tuple(tasks),
            distributed=distributed,
            output_dir=output_dir,
            use_fast_impl=False,
        )
        # Some versions of pycocotools expect this optional part.
        self._coco_api.dataset.setdefault("info", {})
        if not hasattr(self._metadata, "thing_dataset_id_to_contiguous_id"):
            # The loader sets the same; without it the results would have contiguous ids.
            category_ids = sorted(self._coco_api.getCatIds())
            self._metadata.thing_dataset_id_to_contiguous_id = {
                category_id: label for label, category_id in enumerate(category_ids)
            }

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Keep the predictions of images.

        Args:
            inputs: the records that the model received, with ``image_id``.
            outputs: what it returned for each: ``instances`` of the original image size with
                ``pred_boxes``, ``scores``, ``pred_classes`` and, if masks are to be evaluated,
                ``pred_masks``.

        Raises:
            ValueError: the instances have no masks to evaluate.
        """
        for record, output in zip(inputs, outputs, strict=True):
            instances = output["instances"].to(self._cpu_device)
            if "segm" in self._tasks and not instances.has("pred_masks"):
                raise ValueError(f"the prediction of image {record['image_id']} has no masks")
            entries = _entries(instances, record["image_id"])
            if "bbox" not in self._tasks:
                for entry in entries:
                    del entry["bbox"]
            self._predictions.append({"image_id": record["image_id"], "instances": entries})

    def _derive_coco_results(
        self,
        coco_eval: COCOeval | None,
        iou_type: str,
        class_names: Sequence[str] | None = None,
    ) -> dict[str, float]:
        """Metrics in percent; the base class gives up if there is no prediction at all."""
        return super()._derive_coco_results(
            self._evaluate_nothing(iou_type) if coco_eval is None else coco_eval,
            iou_type,
            class_names=class_names,
        )

    def _evaluate_nothing(self, iou_type: str) -> COCOeval:
        """The evaluation of no prediction."""
        # pycocotools reports by print, and cannot load an empty list of results.
        with contextlib.redirect_stdout(io.StringIO()):
            nothing = COCO()
            nothing.dataset = dict(self._coco_api.dataset, annotations=[])
            nothing.createIndex()
            evaluation = COCOeval(self._coco_api, nothing, iou_type)
            evaluation.evaluate()
            evaluation.accumulate()
            evaluation.summarize()
        return evaluation


def _entries(instances: Instances, image_id: int) -> list[dict[str, Any]]:
    """Instances in the form of COCO's result files."""
    fields = instances.get_fields()
    without_masks = {name: value for name, value in fields.items() if name != "pred_masks"}
    entries = instances_to_coco_json(Instances(instances.image_size, **without_masks), image_id)
    for entry, mask in zip(entries, fields.get("pred_masks", ()), strict=False):
        code = encode_around_foreground(np.asarray(mask, dtype=bool))
        code["counts"] = code["counts"].decode("ascii")
        entry["segmentation"] = code
    return entries
