"""Identities per pixel."""

import cv2
import numpy as np
import pytest

from mobileinst_core.detections import Detections
from mobileinst_core.video.id_maps import IdMapWriter, id_map
from mobileinst_core.video.images import VideoIOError


def detections_of(masks, ids, scores):
    return Detections(
        masks=np.array(masks, bool).reshape(-1, 2, 3),
        boxes=np.zeros((len(ids), 4), np.float32),
        scores=np.array(scores, np.float32),
        classes=np.zeros(len(ids), np.int64),
        ids=np.array(ids, np.int64),
    )


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_highest_score_is_on_top(order):
    masks = [[[1, 1, 0], [0, 0, 0]], [[0, 1, 1], [0, 0, 0]]]
    ids, scores = [300, 7], [0.5, 0.9]
    detections = detections_of(*([column[i] for i in order] for column in (masks, ids, scores)))
    drawn = id_map(detections)
    assert drawn.dtype == np.uint16
    assert drawn.tolist() == [[300, 7, 7], [0, 0, 0]]


def test_identities_survive_the_file(tmp_path):
    writer = IdMapWriter(tmp_path / "new" / "maps")
    writer.write("000012", detections_of([[[1, 0, 0], [0, 0, 1]]], [65535], [0.5]))
    read = cv2.imread(str(tmp_path / "new" / "maps" / "000012.png"), cv2.IMREAD_UNCHANGED)
    assert read.dtype == np.uint16
    assert read.tolist() == [[65535, 0, 0], [0, 0, 65535]]


def test_identities_beyond_16_bits_are_refused():
    with pytest.raises(VideoIOError, match="identity 65536 does not fit"):
        id_map(detections_of([[[1, 0, 0], [0, 0, 0]]], [65536], [0.5]))
