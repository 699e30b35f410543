"""The metric of YouTube-VIS: COCO's matching and averaging on the IoU of whole tracks."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .results import GroundTruth, Results, Track
from .track_masks import differing_pixels

__all__ = ["METRICS", "TrackEval", "track_ious"]

METRICS = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100")

_IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10)
_RECALL_LEVELS = np.linspace(0, 1, 101)
# Predicted tracks per video and category for AR1, AR10 and everything else.
_MAX_TRACKS = (1, 10, 100)
# Bounds of a track's mean area in pixels, inclusive: all, small, medium, large. Larger than COCO's.
_AREA_RANGES = np.array([(0, 1e5**2), (0, 128**2), (128**2, 256**2), (256**2, 1e5**2)])
# What becomes of a prediction.
_IGNORED, _FALSE, _TRUE = -1, 0, 1

# Tracks are matched for all ranges of areas and all thresholds at once. Of a set of these cases,
# the bit of range a and threshold t is a * thresholds + t.
_CASES = np.arange(len(_AREA_RANGES) * len(_IOU_THRESHOLDS)).reshape(len(_AREA_RANGES), -1)
_ALL_CASES = (1 << _CASES.size) - 1
_CASES_OF_RANGE = [sum(1 << case for case in cases) for cases in _CASES.tolist()]


@dataclass
class _Category:
    """All tracks of a category; the predicted ones by video, best first.

    Attributes:
        scores: of each prediction.
        areas: of each prediction.
        ranks: of each prediction within its video, from 0 on.
        true: the cases in which it is matched with an annotation that counts.
        ignored: those in which it is matched with one that does not.
        positives: annotations that count in each range of areas.
    """

    scores: list[float] = field(default_factory=list)
    areas: list[float] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    true: list[int] = field(default_factory=list)
    ignored: list[int] = field(default_factory=list)
    positives: list[int] = field(default_factory=lambda: [0] * len(_AREA_RANGES))

    def add_video(self, dts: list[Track], gts: list[Track]) -> None:
        """Match the tracks of one video."""
        dts = sorted(dts, key=lambda track: -track.score)[: _MAX_TRACKS[-1]]
        counting = []
        for track in gts:
            cases = 0
            for area, (low, high) in enumerate(_AREA_RANGES.tolist()):
                if not track.is_crowd and low <= track.area <= high:
                    cases |= _CASES_OF_RANGE[area]
                    self.positives[area] += 1
            counting.append(cases)
        true, ignored = _match(dts, gts, counting)
        self.scores += [track.score for track in dts]
        self.areas += [track.area for track in dts]
        self.ranks += range(len(dts))
        self.true += true
        self.ignored += ignored

    def outcomes(self) -> np.ndarray:
        """What becomes of each prediction: (areas, thresholds, D) int8."""
        areas = np.array(self.areas)
        is_outside = (areas < _AREA_RANGES[:, :1]) | (areas > _AREA_RANGES[:, 1:])
        true, ignored = (
            np.array(cases, dtype=np.int64) >> _CASES[..., None] & 1 == 1
            for cases in (self.true, self.ignored)
        )
        outcomes = np.full(true.shape, _FALSE, dtype=np.int8)
        outcomes[ignored | is_outside[:, None]] = _IGNORED
        outcomes[true] = _TRUE
        return outcomes


class TrackEval:
    """COCO's evaluation with tracks in the place of objects and videos in that of images.

    Other than there, a crowd track is compared by the ordinary IoU, and the ranges of areas are
    larger. The numbers are bitwise those of the official evaluation of YouTube-VIS.
    """

    def __init__(self, truth: GroundTruth, results: Results) -> None:
        """Evaluate predictions; UserError if a predicted mask is malformed."""
        annotated = defaultdict(list)
        for track in truth.tracks:
            annotated[track.video_id].append(track)
        categories = {category_id: _Category() for category_id in truth.categories}
        for video_id, predicted in results.by_video():
            groups = defaultdict(lambda: ([], []))
            for part, tracks in enumerate((predicted, annotated[video_id])):
                for track in tracks:
                    groups[track.category_id][part].append(track)
            for category_id, group in groups.items():
                categories[category_id].add_video(*group)

        self._category_ids = list(categories)
        shape = (len(_IOU_THRESHOLDS), len(_RECALL_LEVELS), len(categories))
        # -1 where no annotated track counts.
        self._precision = -np.ones((len(_AREA_RANGES), *shape))
        self._recall = -np.ones((len(_MAX_TRACKS), shape[0], shape[2]))
        for column, category in enumerate(categories.values()):
            self._accumulate(column, category)

    def summary(self) -> dict[str, float]:
        """The :data:`METRICS` in percent; NaN where no track of the ground truth counts."""
        every = self._precision[0]
        values = (every, every[:1], every[5:6], *self._precision[1:], *self._recall)
        return {name: _mean(value) for name, value in zip(METRICS, values, strict=True)}

    def precision_curves(self, ious: Sequence[float]) -> tuple[np.ndarray, dict[float, np.ndarray]]:
        """Precision over recall, whose mean is the AP.

        Args:
            ious: some of the metric's thresholds, 0.5, 0.55, ..., 0.95.

        Returns:
            The R levels of recall, and by threshold the interpolated precision (R, K) in [0, 1] of
            each category; NaN where no annotated track counts.
        """
        curves = {}
        for iou in ious:
            values = self._precision[0, int(np.abs(_IOU_THRESHOLDS - iou).argmin())]
            curves[iou] = np.where(values < 0, np.nan, values)
        return _RECALL_LEVELS, curves

    def ap_per_category(self) -> dict[int, float]:
        """AP in percent by category id; NaN without ground truth."""
        return {
            category_id: _mean(self._precision[0, :, :, column])
            for column, category_id in enumerate(self._category_ids)
        }

    def _accumulate(self, column: int, category: _Category) -> None:
        """Fill in precision and recall of one category."""
        if not any(category.positives):
            return
        scores, outcomes = np.array(category.scores), category.outcomes()
        order = np.argsort(-scores, kind="stable")
        for area in np.flatnonzero(category.positives).tolist():
            self._precision[area, :, :, column] = _precision(
                outcomes[area][:, order], category.positives[area]
            )
        if category.positives[0]:
            ranks = np.array(category.ranks)
            for place, most in enumerate(_MAX_TRACKS):
                found = (outcomes[0][:, ranks < most] == _TRUE).sum(axis=1)
                self._recall[place, :, column] = found / category.positives[0]


def _match(dts: list[Track], gts: list[Track], counting: list[int]) -> tuple[list[int], list[int]]:
    """Match the tracks of one category in one video.

    Args:
        dts: predictions, best first.
        gts: annotations.
        counting: the cases in which each annotation counts.

    Returns:
        For each prediction, the cases in which it is matched with an annotation that counts, and
        those in which it is matched with another.
    """
    matched = [0] * len(dts), [0] * len(dts)
    free = [_ALL_CASES] * len(gts)
    for dt, options in _candidates(dts, gts).items():
        left = _ALL_CASES
        # Annotations that count come first, then the larger IoU; of equals, the last.
        for part, is_counted in zip(matched, (True, False), strict=True):
            for iou, gt in sorted(options, reverse=True):
                allowed = counting[gt] if is_counted else ~counting[gt]
                found = left & free[gt] & allowed & _cases_up_to(iou)
                part[dt] |= found
                left &= ~found
                if not gts[gt].is_crowd:
                    free[gt] &= ~found
    return matched


def _cases_up_to(iou: float) -> int:
    """The cases of which the threshold is not above an IoU."""
    reached = (1 << bisect_right(_IOU_THRESHOLDS.tolist(), iou)) - 1
    # The same bits in every range.
    return _ALL_CASES // _CASES_OF_RANGE[0] * reached


def _candidates(dts: list[Track], gts: list[Track]) -> dict[int, list[tuple[float, int]]]:
    """IoU and index of the annotations that each prediction may match, by its index."""
    if not gts or not dts:
        return {}
    ious = track_ious(dts, gts)
    candidates = defaultdict(list)
    for dt, gt in np.argwhere(ious >= _IOU_THRESHOLDS[0]).tolist():
        candidates[dt].append((ious[dt, gt].item(), gt))
    return candidates


def _precision(outcomes: np.ndarray, positives: int) -> np.ndarray:
    """Interpolated precision at the recall levels: (thresholds, levels).

    Args:
        outcomes: (thresholds, D) of the predictions in all videos, best first.
        positives: annotations that count.
    """
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


def track_ious(dts: Sequence[Track], gts: Sequence[Track]) -> np.ndarray:
    """IoU of predicted with annotated tracks of one video, of which there is at least one each.

    (D, G) float64, or 0 if it is below all thresholds, the lowest of which is 0.5. The IoU of two
    tracks is the sum of the intersections over all frames, divided by the sum of the unions; 0 if
    neither has a mask.
    """
    dt_areas, gt_areas = (np.array([t.masks.areas for t in tracks]) for tracks in (dts, gts))
    dt_spans, gt_spans = (np.array([t.masks.spans for t in tracks]) for tracks in (dts, gts))
    totals = dt_areas.sum(axis=1)[:, None] + gt_areas.sum(axis=1)
    # At most, all of the smaller mask is shared, and what lies between the first and the last pixel
    # of both. That rules out most pairs without a look at them.
    first = np.maximum(dt_spans[:, None, :, 0], gt_spans[:, :, 0])
    last = np.minimum(dt_spans[:, None, :, 1], gt_spans[:, :, 1])
    most = np.minimum(np.minimum(dt_areas[:, None], gt_areas), (last - first).clip(0)).sum(axis=2)
    possible = _quotient(most, totals - most) >= _IOU_THRESHOLDS[0]
    shared = np.zeros(possible.shape)
    for dt, gt in np.argwhere(possible).tolist():
        differing = differing_pixels(dts[dt].masks, gts[gt].masks)
        shared[dt, gt] = (totals[dt, gt] - differing) // 2
    return _quotient(shared, totals - shared)


def _quotient(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, 0 where the denominator is 0."""
    out = np.zeros(numerator.shape)
    return np.divide(numerator, denominator, out=out, where=denominator > 0)


def _mean(values: np.ndarray) -> float:
    """Mean in percent of all values that are defined; NaN if none is."""
    defined = values[values > -1]
    return float(defined.mean()) * 100 if defined.size else float("nan")
