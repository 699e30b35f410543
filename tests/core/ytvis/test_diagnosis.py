"""Confusion, missed objects and false ones are counted as a reader of the videos would."""

import numpy as np
import pytest
from pycocotools import mask as mask_util

from mobileinst_core.ytvis.diagnosis import diagnose
from mobileinst_core.ytvis.evaluate import evaluate_ytvis
from mobileinst_core.ytvis.results import load_ground_truth, load_results

SIZE = (20, 20)


def square(top, left=0, side=8):
    mask = np.zeros(SIZE, np.uint8, order="F")
    mask[top : top + side, left : left + side] = 1
    code = mask_util.encode(mask)
    return {**code, "counts": code["counts"].decode()}


A, B = square(0), square(11, 11)


def truth_of(*tracks):
    """Tracks: (video, class, masks of two frames, crowd)."""
    keys = ("video_id", "category_id", "segmentations", "iscrowd")
    size = {"height": 20, "width": 20, "length": 2}
    return load_ground_truth(
        {
            "categories": [{"id": 4, "name": "cat"}, {"id": 7, "name": "dog"}],
            "videos": [{"id": i, "file_names": [f"v{i}/0.jpg"] * 2} | size for i in (1, 2, 3)],
            "annotations": [
                {"id": number} | dict(zip(keys, track, strict=True))
                for number, track in enumerate(tracks, 1)
            ],
        }
    )


def results_of(truth, *tracks):
    keys = ("video_id", "category_id", "score", "segmentations")
    return load_results([dict(zip(keys, track, strict=True)) for track in tracks], truth)


TRUTH = ((1, 4, [A, A], 0), (1, 7, [B, B], 0), (2, 4, [A, None], 0), (3, 7, [B, B], 1))
FOUND = (
    (1, 4, 0.9, [A, A]),
    (1, 4, 0.8, [B, B]),  # a dog taken for a cat
    (1, 4, 0.7, [A, A]),  # the same cat again
    (2, 7, 0.6, [B, B]),  # nothing is there
    (3, 4, 0.5, [B, B]),  # a crowd
    (2, 4, 0.1, [A, None]),
)


def test_every_prediction_and_every_object_is_counted_once():
    truth = truth_of(*TRUTH)
    found = diagnose(truth, results_of(truth, *FOUND), threshold=0.3)
    assert found.class_names == ["cat", "dog"]
    assert found.confusion.tolist() == [[1, 0, 1], [1, 0, 0], [1, 1, 0]]
    first, second, third = found.videos
    assert first == (2, "v2", 1, 0, 0, 1, 1, 0.0)
    assert second == (1, "v1", 2, 1, 1, 0, 1, pytest.approx(2 / 5))
    assert third == (3, "v3", 0, 0, 0, 0, 0, 1.0)
    assert found.f1 == pytest.approx(2 / (4 + 3))


@pytest.mark.parametrize(("scores", "threshold"), [((0.9, 0.8), 0.9), ((0.5, 0.5), 0.5)])
def test_the_threshold_is_that_of_the_best_f1(scores, threshold):
    truth = truth_of((1, 4, [A, A], 0))
    tracks = [(1, 4, scores[0], [A, A]), (1, 4, scores[1], [B, B])]
    found = diagnose(truth, results_of(truth, *tracks))
    assert found.threshold == threshold
    assert found.f1 == (1.0 if scores[1] < threshold else pytest.approx(2 / 3))


def test_the_curves_are_those_of_the_metric():
    truth = truth_of(*TRUTH)
    entries = results_of(truth, *FOUND).entries()
    found = diagnose(truth, results_of(truth, *FOUND))
    metrics = evaluate_ytvis(truth, entries).summary
    for iou, name in ((0.5, "AP50"), (0.75, "AP75")):
        assert 100 * np.nanmean(found.precision[iou]) == pytest.approx(metrics[name])
