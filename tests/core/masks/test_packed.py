"""Masks and numbers in little memory are what was packed, also in another process."""

import math
import pickle

import numpy as np
import pytest
from pycocotools import mask as mask_util

from mobileinst_core.masks.packed import PackedRles, PackedRows, visible
from mobileinst_core.masks.rle import encode_mask

SIZE = (37, 53)


def random_rles(seed: int) -> list[dict | None]:
    rng = np.random.default_rng(seed)
    masks = rng.random((9, *SIZE)) < rng.choice([0.02, 0.5, 0.9], (9, 1, 1))
    return [encode_mask(mask) if rng.random() < 0.7 else None for mask in masks]


@pytest.mark.parametrize("seed", range(5))
def test_masks_are_those_packed(seed):
    rles = random_rles(seed)
    packed = pickle.loads(pickle.dumps(PackedRles(rles, SIZE)))
    assert packed == rles
    assert [packed[frame] for frame in range(-9, 9)] == rles * 2
    assert packed[2:7:2] == rles[2:7:2]
    for rle in filter(None, packed):
        assert mask_util.decode(rle).shape == SIZE
    expected = [rle is not None for rle in rles]
    assert visible(packed).tolist() == visible(rles).tolist() == expected


def test_numbers_are_those_packed():
    boxes = [[1, 2.5, 3, 4], None, [0, 0, 0, 0]]
    packed = pickle.loads(pickle.dumps(PackedRows(boxes, [math.nan] * 4)))
    assert packed == boxes
    assert packed[1] is None
    assert packed != boxes[:2]
    assert PackedRows([48, None, 0.5], math.nan) == [48, None, 0.5]
