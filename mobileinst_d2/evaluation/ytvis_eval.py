"""The metric of YouTube-VIS: COCO's matching and averaging on the IoU of whole tracks."""

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import NamedTuple

import numpy as np
from pycocotools import mask as mask_util

from .ytvis_format import Track

__all__ = ["METRICS", "TrackEval"]

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")

_IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALL_LEVELS = np.linspace(0, 1, 101)
# Predicted tracks per video and category for AR1, AR10 and everything else.
_MAX_TRACKS = (1, 10, 100)
# Bounds of a track's mean area in pixels, inclusive: all, small, medium, large. Larger than COCO's.
_AREA_RANGES = ((0, 1e5**2), (0, 128**2), (128**2, 256**2), (256**2, 1e5**2))
# What becomes of a prediction.
_IGNORED, _FALSE, _TRUE = -1, 0, 1


class _Outcomes(NamedTuple):
    """The predictions of one category in one video, best first, in one range of areas.

    Attributes:
        scores: (D,) float64.
        outcomes: (thresholds, D) int8.
        positives: annotated tracks that count.
    """

    scores: np.ndarray
    outcomes: np.ndarray
    positives: int


class TrackEval:
    """COCO's evaluation with tracks in the place of objects and videos in that of images.

    Other than there, a crowd track is compared by the ordinary IoU, and the ranges of areas are
    larger. The numbers are bitwise those of the official evaluation of YouTube-VIS.
    """

    def __init__(
        self,
        gt_tracks: Sequence[Track],
        predicted_tracks: Sequence[Track],
        *,
        category_ids: Collection[int],
    ) -> None:
        """Prepare an evaluation; :meth:`run` does it.

        Args:
            gt_tracks: from :func:`~.ytvis_format.load_ground_truth`.
            predicted_tracks: from :func:`~.ytvis_format.load_results`.
            category_ids: categories to evaluate on.
        """
        self._category_ids = sorted(category_ids)
        # By category and video: annotations and predictions.
        self._groups = {key: defaultdict(lambda: ([], [])) for key in self._category_ids}
        for part, tracks in enumerate((gt_tracks, predicted_tracks)):
            for track in tracks:
                self._groups[track.category_id][track.video_id][part].append(track)
        shape = (len(_IOU_THRESHOLDS), len(_RECALL_LEVELS), len(self._category_ids))
        # -1 where no annotated track counts.
        self._precision = -np.ones((len(_AREA_RANGES), *shape))
        self._recall = -np.ones((len(_MAX_TRACKS), shape[0], shape[2]))

    def run(self) -> dict[str, float]:
        """Evaluate.

        Returns:
            The :data:`METRICS` in percent; NaN where no track of the ground truth counts.
        """
        for column, category_id in enumerate(self._category_ids):
            videos = sorted(self._groups[category_id].items())
            matched = [_match_video(gts, dts) for _, (gts, dts) in videos]
            for area, parts in enumerate(zip(*matched, strict=True)):
                positives = sum(part.positives for part in parts)
                if positives == 0:
                    continue
                self._precision[area, :, :, column] = _precision(parts, positives)
                for place, most in enumerate(_MAX_TRACKS if area == 0 else ()):
                    found = sum((p.outcomes[:, :most] == _TRUE).sum(axis=1) for p in parts)
                    self._recall[place, :, column] = found / positives

        every = self._precision[0]
        values = (every, every[:1], every[5:6], *self._precision[1:], *self._recall)
        return {name: _mean(value) for name, value in zip(METRICS, values, strict=True)}

    def ap_per_category(self) -> dict[int, float]:
        """AP in percent by category id, after :meth:`run`; NaN without ground truth."""
        return {
            category_id: _mean(self._precision[0, :, :, column])
            for column, category_id in enumerate(self._category_ids)
        }


def _match_video(gts: list[Track], dts: list[Track]) -> list[_Outcomes]:
    """Match the tracks of one category in one video, in each range of areas."""
    scores = np.array([track.score for track in dts])
    order = np.argsort(-scores, kind="stable")[: _MAX_TRACKS[-1]]
    dts, scores = [dts[index] for index in order], scores[order]
    candidates = _candidates(dts, gts)
    dt_areas = np.array([track.area for track in dts])
    results = []
    for low, high in _AREA_RANGES:
        ignored = [track.is_crowd or not low <= track.area <= high for track in gts]
        outcomes = np.full((len(_IOU_THRESHOLDS), len(dts)), _FALSE, dtype=np.int8)
        outcomes[:, (dt_areas < low) | (dt_areas > high)] = _IGNORED
        for row, threshold in zip(outcomes, _IOU_THRESHOLDS.tolist(), strict=True):
            free = [True] * len(gts)
            for dt, options in candidates.items():
                # Annotations that count come first, then the larger IoU; of equals, the last.
                found = max(
                    (
                        (not ignored[gt], iou, gt)
                        for iou, gt in options
                        if iou >= threshold and free[gt]
                    ),
                    default=None,
                )
                if found is not None:
                    counts, _, gt = found
                    free[gt] = gts[gt].is_crowd
                    row[dt] = _TRUE if counts else _IGNORED
        results.append(_Outcomes(scores, outcomes, ignored.count(False)))
    return results


def _candidates(dts: list[Track], gts: list[Track]) -> dict[int, list[tuple[float, int]]]:
    """IoU and index of the annotations that each prediction may match, by its index."""
    if not gts or not dts:
        return {}
    ious = _track_ious(dts, gts)
    candidates = defaultdict(list)
    for dt, gt in np.argwhere(ious >= _IOU_THRESHOLDS[0]).tolist():
        candidates[dt].append((ious[dt, gt].item(), gt))
    return candidates


def _precision(parts: Sequence[_Outcomes], positives: int) -> np.ndarray:
    """Interpolated precision at the recall levels: (thresholds, levels)."""
    order = np.argsort(-np.concatenate([part.scores for part in parts]), kind="stable")
    outcomes = np.concatenate([part.outcomes for part in parts], axis=1)[:, order]
    true = (outcomes == _TRUE).cumsum(axis=1)
    false = (outcomes == _FALSE).cumsum(axis=1)
    recall = true / positives
    precision = true / (false + true + np.spacing(1))
    # The best precision at this recall or a higher one; 0 beyond the last.
    precision = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    precision = np.pad(precision, ((0, 0), (0, 1)))
    return np.stack(
        [p[np.searchsorted(r, _RECALL_LEVELS)] for p, r in zip(precision, recall, strict=True)]
    )


def _track_ious(dts: Sequence[Track], gts: Sequence[Track]) -> np.ndarray:
    """IoU of predicted with annotated tracks: (D, G) float64, or 0 if it is below all thresholds.

    The IoU of two tracks is the sum of the intersections over all frames, divided by the sum of
    the unions; 0 if neither has a mask.
    """
    dt_areas, gt_areas = (np.stack([t.masks.areas for t in tracks]) for tracks in (dts, gts))
    dt_columns, gt_columns = (np.stack([t.masks.columns for t in tracks]) for tracks in (dts, gts))
    first = np.maximum(dt_columns[:, None, :, 0], gt_columns[:, :, 0])
    last = np.minimum(dt_columns[:, None, :, 1], gt_columns[:, :, 1])
    meet = first <= last
    totals = dt_areas.sum(axis=1)[:, None] + gt_areas.sum(axis=1)
    # At most, all of the smaller mask is shared. That rules out most pairs without a look at them.
    most = (np.minimum(dt_areas[:, None], gt_areas) * meet).sum(axis=2)
    possible = _quotient(most, totals - most) >= _IOU_THRESHOLDS[0]
    shared = np.zeros(possible.shape)
    for dt, gt in np.argwhere(possible).tolist():
        intersections = [
            mask_util.merge([dts[dt].masks.rles[frame], gts[gt].masks.rles[frame]], True)
            for frame in np.flatnonzero(meet[dt, gt]).tolist()
        ]
        shared[dt, gt] = mask_util.area(intersections).sum()
    return _quotient(shared, totals - shared)


def _quotient(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, 0 where the denominator is 0."""
    out = np.zeros(numerator.shape)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def _mean(values: np.ndarray) -> float:
    """Mean in percent of all values that are defined; NaN if none is."""
    defined = values[values > -1]
    return float(defined.mean()) * 100 if defined.size else float("nan")
