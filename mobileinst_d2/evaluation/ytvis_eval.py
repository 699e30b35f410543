"""The metric of YouTube-VIS: COCO's matching and averaging on the IoU of whole tracks."""

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from pycocotools import mask as mask_util

from .ytvis_format import GroundTruth, Results, Track

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
    """The predictions of one category in one video, best first.

    Attributes:
        scores: (D,) float64.
        outcomes: (areas, thresholds, D) int8.
        positives: (areas,) int64, the annotated tracks that count.
    """

    scores: np.ndarray
    outcomes: np.ndarray
    positives: np.ndarray


class TrackEval:
    """COCO's evaluation with tracks in the place of objects and videos in that of images.

    Other than there, a crowd track is compared by the ordinary IoU, and the ranges of areas are
    larger. The numbers are bitwise those of the official evaluation of YouTube-VIS.
    """

    def __init__(self, truth: GroundTruth, results: Results) -> None:
        """Evaluate.

        Args:
            truth: the annotated tracks.
            results: the predicted tracks.

        Raises:
            ValueError: a predicted mask is malformed.
        """
        self._results = results
        self._annotated = defaultdict(list)
        for track in truth.tracks:
            self._annotated[track.video_id].append(track)
        matched = [self._match_video(video_id) for video_id in truth.videos]

        self._category_ids = list(truth.categories)
        shape = (len(_IOU_THRESHOLDS), len(_RECALL_LEVELS), len(self._category_ids))
        # -1 where no annotated track counts.
        self._precision = -np.ones((len(_AREA_RANGES), *shape))
        self._recall = -np.ones((len(_MAX_TRACKS), shape[0], shape[2]))
        for column, category_id in enumerate(self._category_ids):
            self._accumulate(
                column, [video[category_id] for video in matched if category_id in video]
            )

    def summary(self) -> dict[str, float]:
        """The :data:`METRICS` in percent; NaN where no track of the ground truth counts."""
        every = self._precision[0]
        values = (every, every[:1], every[5:6], *self._precision[1:], *self._recall)
        return {name: _mean(value) for name, value in zip(METRICS, values, strict=True)}

    def ap_per_category(self) -> dict[int, float]:
        """AP in percent by category id; NaN without ground truth."""
        return {
            category_id: _mean(self._precision[0, :, :, column])
            for column, category_id in enumerate(self._category_ids)
        }

    def _match_video(self, video_id: int) -> dict[int, _Outcomes]:
        """Match the tracks of one video; by category."""
        groups = defaultdict(lambda: ([], []))
        for part, tracks in enumerate((self._results.tracks(video_id), self._annotated[video_id])):
            for track in tracks:
                groups[track.category_id][part].append(track)
        return {category_id: _match(*group) for category_id, group in groups.items()}

    def _accumulate(self, column: int, videos: list[_Outcomes]) -> None:
        """Fill in precision and recall of one category."""
        positives = sum(video.positives for video in videos)
        for area in np.flatnonzero(positives).tolist():
            self._precision[area, :, :, column] = _precision(
                np.concatenate([video.scores for video in videos]),
                np.concatenate([video.outcomes[area] for video in videos], axis=1),
                positives[area],
            )
        if videos and positives[0]:
            for place, most in enumerate(_MAX_TRACKS):
                found = sum((v.outcomes[0, :, :most] == _TRUE).sum(axis=1) for v in videos)
                self._recall[place, :, column] = found / positives[0]


def _match(dts: list[Track], gts: list[Track]) -> _Outcomes:
    """Match the tracks of one category in one video, in each range of areas."""
    scores = np.array([track.score for track in dts])
    order = np.argsort(-scores, kind="stable")[: _MAX_TRACKS[-1]]
    dts, scores = [dts[index] for index in order], scores[order]
    candidates = _candidates(dts, gts)
    dt_areas = np.array([track.area for track in dts])
    outcomes = np.full((len(_AREA_RANGES), len(_IOU_THRESHOLDS), len(dts)), _FALSE, dtype=np.int8)
    positives = np.zeros(len(_AREA_RANGES), dtype=np.int64)
    for area, (low, high) in enumerate(_AREA_RANGES):
        ignored = [track.is_crowd or not low <= track.area <= high for track in gts]
        positives[area] = ignored.count(False)
        outcomes[area, :, (dt_areas < low) | (dt_areas > high)] = _IGNORED
        for row, threshold in zip(outcomes[area], _IOU_THRESHOLDS.tolist(), strict=True):
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
    return _Outcomes(scores, outcomes, positives)


def _candidates(dts: list[Track], gts: list[Track]) -> dict[int, list[tuple[float, int]]]:
    """IoU and index of the annotations that each prediction may match, by its index."""
    if not gts or not dts:
        return {}
    ious = _track_ious(dts, gts)
    candidates = defaultdict(list)
    for dt, gt in np.argwhere(ious >= _IOU_THRESHOLDS[0]).tolist():
        candidates[dt].append((ious[dt, gt].item(), gt))
    return candidates


def _precision(scores: np.ndarray, outcomes: np.ndarray, positives: int) -> np.ndarray:
    """Interpolated precision at the recall levels: (thresholds, levels)."""
    outcomes = outcomes[:, np.argsort(-scores, kind="stable")]
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
