"""Evaluation of video instance segmentation inside Detectron2."""

import logging
import math
from collections import OrderedDict
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from detectron2.data import MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from detectron2.utils.file_io import PathManager

from mobileinst_core.errors import UserError
from mobileinst_core.ytvis.evaluate import evaluate_ytvis
from mobileinst_core.ytvis.metric import METRICS
from mobileinst_core.ytvis.results import load_ground_truth, result_entries
from mobileinst_core.ytvis.submission import SERVERS, write_submission

__all__ = ["YTVISEvaluator"]

logger = logging.getLogger(__name__)


class YTVISEvaluator(DatasetEvaluator):
    """YouTube-VIS AP of a data set, and the files for its evaluation server.

    Writes ``results.json`` and ``results.zip`` (the same file, as the servers take it) with the
    category ids of the data set. Without annotations nothing more can be done here, and the
    metrics are empty.
    """

    METRICS = METRICS

    def __init__(
        self, dataset_name: str, output_dir: str | None = None, distributed: bool = True
    ) -> None:
        """Read the ground truth.

        Args:
            dataset_name: a registered data set with ``json_file`` in its metadata.
            output_dir: folder for the results; None writes none.
            distributed: collect the predictions of all processes and evaluate in the main one;
                otherwise each process evaluates its own.

        Raises:
            UserError: the metadata has no ``json_file``, or the file is malformed.
        """
        metadata = MetadataCatalog.get(dataset_name)
        json_file = metadata.get("json_file")
        if json_file is None:
            raise UserError(
                f"the metadata of the data set '{dataset_name}' has no 'json_file' to evaluate "
                "with; load the data set before its evaluator is built"
            )
        self._dataset_name = dataset_name
        self._output_dir = output_dir
        self._distributed = distributed
        self._truth = load_ground_truth(PathManager.get_local_path(json_file))
        # As the loader does, number the categories by ascending id.
        id_map = metadata.get("thing_dataset_id_to_contiguous_id") or {
            category_id: label for label, category_id in enumerate(self._truth.categories)
        }
        self._category_ids = {label: category_id for category_id, label in id_map.items()}
        self._predictions: list[tuple[int, list[dict[str, Any]]]] = []

    def reset(self) -> None:
        """Forget all predictions."""
        self._predictions = []

    def process(self, inputs: Sequence[dict[str, Any]], outputs: Sequence[dict[str, Any]]) -> None:
        """Keep the predicted tracks of videos.

        Args:
            inputs: the video records that the predictor received.
            outputs: what it returned for each: ``video_id`` and, per track, ``pred_scores``,
                ``pred_labels`` (contiguous) and ``pred_rles`` (an RLE or None per frame, of the
                video's original size).

        Raises:
            UserError: the model has more classes than the data set.
            ValueError: an output does not fit its input or the videos of the data set.
        """
        for record, output in zip(inputs, outputs, strict=True):
            video_id = record["video_id"]
            if output["video_id"] != video_id:
                raise ValueError(f"video {video_id} got the output of {output['video_id']}")
            self._predictions.append((video_id, self._to_results(output)))

    def evaluate(self) -> OrderedDict[str, dict[str, float]]:
        """Write the results and score them.

        Returns:
            ``{"segm": metrics}`` in percent, those of `VideoMetrics.summary` and ``AP-<name>`` for
            each class that occurs; empty without annotations, and outside of the main process.
        """
        predictions = self._predictions
        if self._distributed:
            comm.synchronize()
            predictions = list(chain.from_iterable(comm.gather(predictions, dst=0)))
            if not comm.is_main_process():
                return OrderedDict()

        results = self._merge(predictions)
        archive = write_submission(results, self._output_dir) if self._output_dir else None
        if not self._truth.tracks:
            self._log_where_to_upload(archive)
            return OrderedDict()
        metrics = evaluate_ytvis(self._truth, results)
        logger.info("Results on '%s':\n%s", self._dataset_name, metrics.table())
        per_class = {
            f"AP-{name}": value
            for name, value in metrics.per_class.items()
            if not math.isnan(value)
        }
        return OrderedDict(segm=metrics.summary | per_class)

    def _to_results(self, output: dict[str, Any]) -> list[dict[str, Any]]:
        """Entries of the results file for the tracks of one video."""
        video_id = output["video_id"]
        video = self._truth.videos.get(video_id)
        if video is None:
            raise ValueError(f"the data set '{self._dataset_name}' has no video {video_id}")
        for label, rles in zip(output["pred_labels"], output["pred_rles"], strict=True):
            if label not in self._category_ids:
                raise UserError(
                    f"the model predicts class {label}, but the data set '{self._dataset_name}' "
                    f"has only {len(self._category_ids)}; set MODEL.NUM_CLASSES to match"
                )
            if len(rles) != video.length:
                raise ValueError(
                    f"the prediction of video {video_id} has {len(rles)} of {video.length} frames"
                )
        return result_entries(output, self._category_ids, (video.height, video.width))

    def _merge(self, predictions: list[tuple[int, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
        """All entries, ordered by video, so that the file does not depend on the processes."""
        by_video = dict(predictions)
        if len(by_video) < len(predictions):
            logger.warning(
                "%d videos were predicted more than once; one prediction of each counts.",
                len(predictions) - len(by_video),
            )
        missing = len(self._truth.videos.keys() - by_video.keys())
        if missing:
            logger.warning(
                "%d of the %d videos of '%s' were not predicted; they count as missed.",
                missing,
                len(self._truth.videos),
                self._dataset_name,
            )
        return list(chain.from_iterable(by_video[video_id] for video_id in sorted(by_video)))

    def _log_where_to_upload(self, archive: Path | None) -> None:
        logger.info("'%s' has no annotations here and is not scored.", self._dataset_name)
        if archive is None:
            logger.info("Give an output folder to get the file for its evaluation server.")
            return
        urls = [url for name, url in SERVERS.items() if self._dataset_name.startswith(name)]
        logger.info("Upload %s to %s", archive, urls[0] if urls else "its evaluation server.")
