"""Detections are the same whether masks are whole, crops or RLEs."""

import numpy as np
import pytest

from mobileinst_core.detections import Detections, MaskCrops
from mobileinst_core.masks.rle import encode_mask

SIZE = (6, 9)


def whole_masks() -> np.ndarray:
    masks = np.zeros((4, *SIZE), bool)
    masks[0, 2:4, 3:8] = True
    masks[1, 0, 0] = masks[1, -1, -1] = True
    masks[2] = True
    return masks  # the last one is empty


def detections(masks) -> Detections:
    return Detections(
        masks=masks,
        boxes=np.arange(16, dtype=np.float32).reshape(4, 4),
        scores=np.array([0.9, 0.8, 0.7, 0.6], np.float32),
        classes=np.arange(4),
        ids=np.arange(1, 5),
        image_size=SIZE,
    )


def test_crops_hold_the_foreground_and_give_the_masks_back():
    crops = MaskCrops.of(whole_masks())
    assert [crop.box for crop in crops] == [(3, 2, 8, 4), (0, 0, 9, 6), (0, 0, 9, 6), (0, 0, 0, 0)]
    assert np.array_equal(crops.full(), whole_masks())
    found = detections(crops)
    assert found.image_size == SIZE
    assert np.array_equal(found.masks, whole_masks())


@pytest.mark.parametrize("index", [slice(1, 3), np.array([2, 0]), np.array([1, 0, 0, 1], bool)])
@pytest.mark.parametrize(
    "kind",
    [lambda x: x, MaskCrops.of, lambda masks: [encode_mask(mask) for mask in masks]],
    ids=["whole", "crops", "rles"],
)
def test_some_are_chosen_by_numbers_slices_and_booleans(kind, index):
    found = detections(kind(whole_masks()))[index]
    numbers = np.arange(4)[index]
    assert found.ids.tolist() == (numbers + 1).tolist()
    assert np.array_equal(found.boxes, np.arange(16).reshape(4, 4)[numbers])
    assert found.periods is None
    expected = kind(whole_masks()[numbers])
    if isinstance(expected, MaskCrops):
        expected = expected.full()
    assert len(found) == len(found.masks) == len(numbers)
    assert np.array_equal(found.masks, expected)


def test_single_ones_are_given_by_number_and_in_a_loop_and_printed():
    found = detections(MaskCrops.of(whole_masks()))
    assert [one.ids.tolist() for one in found] == [[1], [2], [3], [4]]
    assert np.array_equal(found[-2].masks, whole_masks()[[2]])
    with pytest.raises(IndexError):
        found[4]
    assert str(found[1]) == "Detections(1 in 9x6 pixels, ids=[2], classes=[1], scores=[0.8])"
