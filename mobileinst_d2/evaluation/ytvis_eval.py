"""The metric of YouTube-VIS: COCO's matching and averaging on the IoU of whole tracks."""

import contextlib
import io
from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_util
from pycocotools.cocoeval import COCOeval

__all__ = ["METRICS", "TrackEval"]

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")

# Bounds of a track's mean area in pixels, inclusive: all, small, medium, large. Larger than COCO's.
_AREA_RANGES = [[0, 1e5**2], [0, 128**2], [128**2, 256**2], [256**2, 1e5**2]]


class TrackEval(COCOeval):
    """COCO's evaluation with tracks in the place of objects and videos in that of images.

    Matching, accumulation and the summary are inherited; they are the same in the official
    evaluation of YouTube-VIS. What differs is the IoU of a pair, the area ranges, and that a crowd
    track is compared by the ordinary IoU.
    """

    def __init__(
        self,
        gt_tracks: Sequence[dict[str, Any]],
        predicted_tracks: Sequence[dict[str, Any]],
        *,
        video_ids: Collection[int],
        category_ids: Collection[int],
    ) -> None:
        """Prepare an evaluation; :meth:`run` does it.

        Args:
            gt_tracks: from :func:`~.ytvis_format.load_ground_truth`.
            predicted_tracks: from :func:`~.ytvis_format.load_results`.
            video_ids: videos to evaluate on.
            category_ids: categories to evaluate on.
        """
        super().__init__(iouType="segm")
        self.params.imgIds = sorted(video_ids)
        self.params.catIds = sorted(category_ids)
        self.params.areaRng = _AREA_RANGES
        self._gt_tracks = gt_tracks
        self._predicted_tracks = predicted_tracks

    def run(self) -> dict[str, float]:
        """Evaluate.

        Returns:
            The :data:`METRICS` in percent; NaN where no track of the ground truth counts.
        """
        # The base class reports by print.
        with contextlib.redirect_stdout(io.StringIO()):
            self.evaluate()
            self.accumulate()
            self.summarize()
        return {
            name: _percent(value)
            for name, value in zip(METRICS, self.stats[: len(METRICS)], strict=True)
        }

    def ap_per_category(self) -> dict[int, float]:
        """AP in percent by category id, after :meth:`run`; NaN without ground truth."""
        # (IoU thresholds, recall levels, categories), for all areas and most predictions.
        precision = self.eval["precision"][:, :, :, 0, -1]
        means = (values[values > -1] for values in np.moveaxis(precision, 2, 0))
        return {
            category_id: _percent(values.mean() if values.size else -1)
            for category_id, values in zip(self.params.catIds, means, strict=True)
        }

    def _prepare(self) -> None:
        self._gts = _by_video_and_category(self._gt_tracks)
        self._dts = _by_video_and_category(self._predicted_tracks)
        self.evalImgs = defaultdict(list)
        self.eval = {}

    def computeIoU(self, video_id: int, category_id: int) -> np.ndarray | list:  # noqa: N802
        """IoU of the predicted and annotated tracks of one category in one video.

        The IoU of two tracks is the sum of the intersections over all frames, divided by the sum
        of the unions; 0 if neither has a mask.

        Args:
            video_id: the video.
            category_id: the category.

        Returns:
            ``(predictions, annotations)`` float64, the predictions by descending score and cut to
            the number that is evaluated; an empty list without either, as the base class does.
        """
        gts = self._gts[video_id, category_id]
        dts = self._dts[video_id, category_id]
        if not gts or not dts:
            return []
        order = np.argsort([-track["score"] for track in dts], kind="mergesort")
        dts = [dts[index] for index in order[: self.params.maxDets[-1]]]

        intersections = np.zeros((len(dts), len(gts)))
        for frame in range(len(gts[0]["masks"])):
            add_intersections(intersections, dts, gts, frame)
        dt_areas = np.array([track["mask_areas"].sum() for track in dts])
        gt_areas = np.array([track["mask_areas"].sum() for track in gts])
        unions = dt_areas[:, None] + gt_areas[None, :] - intersections
        return np.divide(intersections, unions, out=np.zeros_like(unions), where=unions > 0)


def add_intersections(
    intersections: np.ndarray,
    dts: Sequence[dict[str, Any]],
    gts: Sequence[dict[str, Any]],
    frame: int,
) -> None:
    """Add the pixels that each pair of tracks shares in one frame, with one call into C.

    Args:
        intersections: ``(len(dts), len(gts))`` float64, changed in place.
        dts: predicted tracks.
        gts: annotated tracks.
        frame: index of the frame.
    """
    rows = [row for row, track in enumerate(dts) if track["masks"][frame] is not None]
    columns = [column for column, track in enumerate(gts) if track["masks"][frame] is not None]
    if not rows or not columns:
        return
    # For a crowd the denominator is the area of the prediction alone, which is known, so the
    # exact number of shared pixels comes back.
    shared = mask_util.iou(
        [dts[row]["masks"][frame] for row in rows],
        [gts[column]["masks"][frame] for column in columns],
        [1] * len(columns),
    )
    areas = np.array([dts[row]["mask_areas"][frame] for row in rows])
    intersections[np.ix_(rows, columns)] += np.rint(shared * areas[:, None])


def _by_video_and_category(
    tracks: Sequence[dict[str, Any]],
) -> defaultdict[tuple[int, int], list[dict[str, Any]]]:
    grouped = defaultdict(list)
    for track in tracks:
        grouped[track["image_id"], track["category_id"]].append(track)
    return grouped


def _percent(value: float) -> float:
    """A share in percent; NaN for COCO's -1, which says that it is undefined."""
    return float(value) * 100 if value >= 0 else float("nan")
