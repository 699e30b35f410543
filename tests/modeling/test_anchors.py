"""Anchors: where they are, the code of boxes, and which object each stands for."""

import math
import zlib

import pytest
import torch
from detectron2.modeling.box_regression import Box2BoxTransform

from mobileinst_d2.modeling.anchors import (
    AnchorGrid,
    AnchorMatcher,
    corner_boxes,
    decode_boxes,
    encode_boxes,
)

NONE = torch.zeros(0, 4)


def published_anchors(**options) -> torch.Tensor:
    return AnchorGrid(**options)([torch.zeros(1, 1, n, n) for n in (69, 35, 18, 9, 5)])


def test_the_anchors_of_550_pixels_are_the_published_ones(published):
    meta, _ = published.load("yolact_r50")
    anchors = published_anchors()
    assert anchors.shape == (14283 + 3675 + 972 + 243 + 75, 4)
    assert zlib.crc32(anchors.numpy().tobytes()) == meta["priors_crc32"]


def test_anchors_are_squares_or_have_the_ratios_of_the_paper():
    # The public code overwrites the height with the width.
    sides = published_anchors()[:3, 2:] * 550
    assert sides.flatten().tolist() == pytest.approx(
        [24, 24, 24 * math.sqrt(0.5), 24 * math.sqrt(0.5), 24 * math.sqrt(2), 24 * math.sqrt(2)]
    )
    width, height = (published_anchors(shape="ratio")[:3, 2:] * 550).T
    assert (width / height).tolist() == pytest.approx([1.0, 0.5, 2.0])
    assert (width * height).tolist() == pytest.approx([24**2] * 3)
    with pytest.raises(ValueError, match="square"):
        AnchorGrid(shape="round")


def test_the_code_of_boxes_is_detectron2s():
    torch.manual_seed(0)
    anchors = torch.rand(50, 4) + 0.1
    deltas = torch.randn(50, 4)
    boxes = decode_boxes(deltas[None], anchors)[0]
    transform = Box2BoxTransform(weights=(10.0, 10.0, 5.0, 5.0))
    torch.testing.assert_close(boxes, transform.apply_deltas(deltas, corner_boxes(anchors)))
    torch.testing.assert_close(encode_boxes(boxes, anchors), deltas, rtol=1e-4, atol=1e-4)


# Centre and sides of four anchors side by side.
ROW = torch.tensor([[x, 0.5, 0.25, 0.25] for x in (0.125, 0.375, 0.625, 0.875)])


def match(boxes, crowds=NONE, labels=None):
    boxes = torch.as_tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    labels = torch.arange(len(boxes)) if labels is None else torch.as_tensor(labels)
    return AnchorMatcher()(ROW, boxes, labels, torch.as_tensor(crowds, dtype=torch.float32))


def test_each_object_gets_an_anchor_of_its_own():
    # Both cover the second anchor best; the better one takes it, and the other its next best.
    exact, shifted = [0.25, 0.375, 0.5, 0.625], [0.26, 0.375, 0.54, 0.625]
    targets = match([shifted, exact])
    assert targets.classes.tolist() == [0, 2, 1, 0]
    assert targets.objects[1:3].tolist() == [1, 0]
    # More objects than anchors: as many as there are.
    assert (match([exact] * 6).classes > 0).all()


def test_overlaps_between_the_thresholds_teach_nothing():
    # All start with the first anchor, which they claim; the overlap with the second counts.
    for end, overlap, expected in ((0.40, 0.30, 0), (0.47, 0.44, -1), (0.50, 0.50, 1)):
        box = [0.0, 0.375, end, 0.625]
        inside = end - 0.25
        assert inside / (end + 0.25 - inside) == pytest.approx(overlap)
        assert match([box]).classes.tolist() == [1, expected, 0, 0]


def test_anchors_in_crowds_are_not_background():
    crowd = [[0.5, 0.0, 1.0, 1.0]]
    assert match([], crowd).classes.tolist() == [0, 0, -1, -1]
    # Objects come first.
    assert match([[0.5, 0.375, 0.75, 0.625]], crowd).classes.tolist() == [0, 0, 1, -1]
    assert match([]).classes.tolist() == [0, 0, 0, 0]
