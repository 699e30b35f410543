"""What goes wrong in a results file: classes that are taken for others, and the worst videos."""

import posixpath
from collections import defaultdict
from typing import NamedTuple

import numpy as np

from .metric import TrackEval, track_ious
from .results import GroundTruth, Results, Track

__all__ = ["Diagnosis", "VideoErrors", "diagnose"]

# IoU from which a prediction is the object, and of the precision-recall curves.
_IOU = 0.5
CURVES = (0.5, 0.75)


class VideoErrors(NamedTuple):
    """What was found in one video, by predictions from the score threshold on.

    Attributes:
        video_id: the video.
        name: folder of its frames, or the name of an image.
        annotated: annotated tracks, without crowds.
        correct: of these, found with their class.
        confused: found with another class.
        missed: not found.
        false: predictions that are no annotated track.
        f1: harmonic mean of precision and recall; 1 where there is nothing to find, nor found.
    """

    video_id: int
    name: str
    annotated: int
    correct: int
    confused: int
    missed: int
    false: int
    f1: float


class Diagnosis(NamedTuple):
    """What `diagnose` finds.

    Attributes:
        class_names: K names, in ascending order of the category id.
        threshold: score from which predictions count.
        f1: F1 of all videos together at the threshold.
        confusion: (K + 1, K + 1) tracks, by annotated class (rows) and predicted class (columns);
            the last row has predictions that are nothing, the last column what was missed.
        videos: the worst first.
        recall: (R,) levels of the curves.
        precision: by IoU threshold (R, K); NaN for classes without annotations.
    """

    class_names: list[str]
    threshold: float
    f1: float
    confusion: np.ndarray
    videos: list[VideoErrors]
    recall: np.ndarray
    precision: dict[float, np.ndarray]


class _Pair(NamedTuple):
    """A prediction, by descending score, and the annotation that it is, by its row."""

    score: float
    category_id: int
    gt: int | None
    gt_category_id: int | None


def diagnose(truth: GroundTruth, results: Results, *, threshold: float | None = None) -> Diagnosis:
    """Compare results with annotations.

    For confusion and videos, predictions are matched in the order of their scores with the
    annotated track of any class that they overlap most, from an IoU of 0.5 on; a crowd takes any
    number of them, which then do not count. The curves are those of the metric.

    Args:
        truth: the annotated tracks.
        results: the predicted tracks.
        threshold: score from which predictions count; None = that of the best F1.

    Returns:
        The findings.

    Raises:
        UserError: a predicted mask is malformed.
    """
    annotated = defaultdict(list)
    for track in truth.tracks:
        annotated[track.video_id].append(track)
    pairs = {
        video_id: _match(predicted, annotated[video_id])
        for video_id, predicted in results.by_video()
    }
    total = sum(not track.is_crowd for track in truth.tracks)
    every = [pair for found in pairs.values() for pair in found]
    best, f1 = _best_threshold(every, total)
    if threshold is None:
        threshold = best
    else:
        f1 = _f1([pair for pair in every if pair.score >= threshold], total)
    columns = {category_id: column for column, category_id in enumerate(truth.categories)}
    confusion = np.zeros((len(columns) + 1,) * 2, dtype=np.int64)
    videos = []
    for video_id, found in pairs.items():
        kept = [pair for pair in found if pair.score >= threshold]
        tracks = annotated[video_id]
        videos.append(_video_errors(truth, video_id, tracks, kept))
        for pair in kept:
            confusion[columns.get(pair.gt_category_id, -1), columns[pair.category_id]] += 1
        hit = {pair.gt for pair in kept}
        for row, track in enumerate(tracks):
            if row not in hit and not track.is_crowd:
                confusion[columns[track.category_id], -1] += 1
    recall, precision = TrackEval(truth, results).precision_curves(CURVES)
    return Diagnosis(
        class_names=list(truth.categories.values()),
        threshold=threshold,
        f1=f1,
        confusion=confusion,
        videos=sorted(videos, key=lambda v: (v.f1, -(v.missed + v.false + v.confused))),
        recall=recall,
        precision=precision,
    )


def _match(predicted: list[Track], annotated: list[Track]) -> list[_Pair]:
    predicted = sorted(predicted, key=lambda track: -track.score)
    ious = track_ious(predicted, annotated) if predicted and annotated else None
    free, pairs = set(range(len(annotated))), []
    for row, track in enumerate(predicted):
        gt = None
        if ious is not None and free:
            gt = max(free, key=lambda column: (ious[row, column], -column))
            gt = gt if ious[row, gt] >= _IOU else None
        if gt is None:
            pairs.append(_Pair(track.score, track.category_id, None, None))
        elif not annotated[gt].is_crowd:
            free.remove(gt)
            pairs.append(_Pair(track.score, track.category_id, gt, annotated[gt].category_id))
    return pairs


def _f1(pairs: list[_Pair], total: int) -> float:
    if not pairs and not total:
        return 1.0
    correct = sum(pair.category_id == pair.gt_category_id for pair in pairs)
    return 2 * correct / (len(pairs) + total)


def _best_threshold(pairs: list[_Pair], total: int) -> tuple[float, float]:
    """The score of the best F1, the highest of equals, and that F1."""
    if not pairs:
        return 0.0, _f1(pairs, total)
    pairs = sorted(pairs, key=lambda pair: -pair.score)
    correct = np.cumsum([pair.category_id == pair.gt_category_id for pair in pairs])
    f1 = 2 * correct / (np.arange(1, len(pairs) + 1) + total)
    scores = np.array([pair.score for pair in pairs])
    # A threshold takes all predictions of its score.
    is_last = np.append(scores[1:] < scores[:-1], True)
    best = int(np.argmax(np.where(is_last, f1, -1)))
    return float(scores[best]), float(f1[best])


def _video_errors(
    truth: GroundTruth, video_id: int, tracks: list[Track], pairs: list[_Pair]
) -> VideoErrors:
    video = truth.videos[video_id]
    names = video.file_names or [str(video_id)]
    name = names[0] if video.length == 1 else posixpath.dirname(names[0])
    annotated = sum(not track.is_crowd for track in tracks)
    matched = sum(pair.gt is not None for pair in pairs)
    correct = sum(pair.category_id == pair.gt_category_id for pair in pairs)
    return VideoErrors(
        video_id=video_id,
        name=name or str(video_id),
        annotated=annotated,
        correct=correct,
        confused=matched - correct,
        missed=annotated - matched,
        false=len(pairs) - matched,
        f1=_f1(pairs, annotated),
    )
