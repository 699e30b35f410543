import numpy as np
import pytest
from pycocotools import mask as mask_util

from mobileinst_core.masks.crops import encode_around_foreground, encode_crop

SIZE = (7, 9)
# top, left, height, width of a part of the mask
PARTS = {
    "inside": (2, 3, 4, 5),
    "all": (0, 0, 7, 9),
    "full height": (0, 2, 7, 4),
    "full width": (3, 0, 2, 9),
    "top left": (0, 0, 3, 2),
    "bottom right": (4, 6, 3, 3),
    "last column": (0, 8, 7, 1),
    "last pixel": (6, 8, 1, 1),
    "first pixel": (0, 0, 1, 1),
}


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_codes_are_those_of_the_whole_masks(part, share):
    top, left, height, width = part
    for seed in range(20):
        crop = np.random.default_rng(seed).random((width, height)) < share
        mask = np.zeros(SIZE, np.uint8)
        mask[top : top + height, left : left + width] = crop.T
        expected = mask_util.encode(np.asfortranarray(mask))
        assert encode_crop(top, left, crop, SIZE) == expected
        assert encode_around_foreground(mask.astype(bool)) == expected
