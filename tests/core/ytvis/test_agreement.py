"""What two runtimes give for the same videos, compared track by track."""

import numpy as np
import pytest
from pycocotools import mask as mask_util

from mobileinst_core.ytvis.agreement import TrackAgreement


def rle(columns):
    """The first columns of a 10x10 image."""
    mask = np.zeros((10, 10), np.uint8, order="F")
    mask[:, :columns] = 1
    return mask_util.encode(mask)


def result(*tracks):
    """Tracks given as id, class, score and columns per frame, None = not visible."""
    return {
        "pred_ids": [track[0] for track in tracks],
        "pred_labels": [track[1] for track in tracks],
        "pred_scores": [track[2] for track in tracks],
        "pred_rles": [[None if n is None else rle(n) for n in track[3]] for track in tracks],
    }


def summary(reference, found):
    agreement = TrackAgreement()
    agreement.add_tracks(reference, found)
    return agreement.summary()


def test_masks_are_compared_frame_by_frame():
    found = summary(result((0, 3, 0.9, [5, 4, 4, None])), result((0, 3, 0.85, [5, 2, None, None])))
    assert (found["tracks"], found["same_tracks"]) == (1, 1)
    # 1, a half, and 0 where only one is visible; the last frame has nothing to compare.
    assert found["iou_mean"] == pytest.approx(0.5)
    assert found["iou_min"] == 0
    assert found["score_difference"] == pytest.approx(0.05)


def test_live_identities_are_compared_as_sets():
    agreement = TrackAgreement()
    agreement.add_live([[1, 2], [1], []], [[2, 1], [2], []])
    found = agreement.summary()
    assert (found["frames"], found["same_frames"]) == (3, 2)
