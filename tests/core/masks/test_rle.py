"""Run-length codes: every encoding gives the same mask, damaged ones are refused."""

import numpy as np
import pytest
from annotation_files import compressed, run_lengths
from pycocotools import mask as mask_util

from mobileinst_core.errors import UserError
from mobileinst_core.masks.rle import (
    CheckedRle,
    MaskError,
    encode_crop,
    encode_mask,
    rle_area,
    to_rle,
    to_rles,
)

HEIGHT, WIDTH = 7, 9
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


def random_mask(rng: np.random.Generator) -> np.ndarray:
    mask = (rng.random((HEIGHT, WIDTH)) < rng.uniform(0.1, 0.9)).astype(np.uint8)
    mask[rng.integers(HEIGHT), rng.integers(WIDTH)] = 1
    return mask


@pytest.mark.parametrize("seed", range(5))
def test_uncompressed_text_and_bytes_give_the_same_mask(seed):
    mask = random_mask(np.random.default_rng(seed))
    code = compressed(mask)
    size = [HEIGHT, WIDTH]
    for segmentation in (
        {"size": size, "counts": run_lengths(mask)},
        {"size": size, "counts": code["counts"].encode()},
        {"size": tuple(size), "counts": code["counts"]},
        {"size": np.array(size), "counts": np.array(run_lengths(mask))},
        mask,  # the pixels, as a record of Detectron2's may have them
        mask.astype(bool),
    ):
        rle = to_rle(segmentation, HEIGHT, WIDTH)
        assert np.array_equal(mask_util.decode(rle), mask)
        assert rle == code
        assert rle_area(rle) == mask.sum()


def test_polygons_are_united():
    left, right = [0, 0, 4, 0, 4, 7, 0, 7], [5, 0, 9, 0, 9, 7, 5, 7]
    expected = np.ones((HEIGHT, WIDTH), np.uint8)
    expected[:, 4] = 0
    assert np.array_equal(mask_util.decode(to_rle([left, right], HEIGHT, WIDTH)), expected)


def test_polygons_without_an_inside_are_left_out():
    square = [0, 0, 4, 0, 4, 4, 0, 4]
    line, point = [1, 1, 8, 6], [2, 2]
    assert to_rle([line, square, point], HEIGHT, WIDTH) == to_rle([square], HEIGHT, WIDTH)
    assert to_rle([line, point], HEIGHT, WIDTH) is None


@pytest.mark.parametrize(
    "empty",
    [
        None,
        [],
        {},
        {"size": [HEIGHT, WIDTH], "counts": [HEIGHT * WIDTH]},
        {"size": [HEIGHT, WIDTH], "counts": []},
        {"size": [HEIGHT, WIDTH], "counts": ""},
        compressed(np.zeros((HEIGHT, WIDTH))),
        np.zeros((HEIGHT, WIDTH), bool),
    ],
)
def test_invisible(empty):
    assert to_rle(empty, HEIGHT, WIDTH) is None
    assert rle_area(None) == 0


def test_empty_runs_inside_a_code_are_joined():
    # pycocotools finds 3 shared pixels of 5 in two such codes.
    for split, joined in (
        ([5, 3, 0, 2, 54], [5, 5, 54]),
        ([5, 3, 4, 0, 52], [5, 3, 56]),
        ([0, 3, 0, 61], [0, 64]),
    ):
        expected = to_rle({"size": [8, 8], "counts": joined}, 8, 8)
        assert to_rle({"size": [8, 8], "counts": split}, 8, 8) == expected


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        ({"size": [WIDTH, HEIGHT], "counts": [60, 3]}, "its frame has size"),
        ({"size": None, "counts": [60, 3]}, "its frame has size"),
        ({"counts": [60, 3]}, "'size' and 'counts'"),
        ({"size": [HEIGHT, WIDTH], "counts": 63}, "must be text or integers"),
        ({"size": [HEIGHT, WIDTH], "counts": [60, "x"]}, "non-negative integers"),
        ({"size": [HEIGHT, WIDTH], "counts": [66, -3]}, "non-negative integers"),
        ({"size": [HEIGHT, WIDTH], "counts": [60.5, 2.5]}, "non-negative integers"),
        ({"size": [HEIGHT, WIDTH], "counts": ["60", "3"]}, "non-negative integers"),
        ({"size": [HEIGHT, WIDTH], "counts": [10, 20]}, "do not fill"),
        ({"size": [HEIGHT, WIDTH], "counts": [60, 20]}, "do not fill"),
        ({"size": [HEIGHT, WIDTH], "counts": "é"}, "not a compressed"),
        ({"size": [HEIGHT, WIDTH], "counts": "\udc80"}, "not a compressed"),
        ({"size": [HEIGHT, WIDTH], "counts": "P"}, "not a compressed"),
        ({"size": [HEIGHT, WIDTH], "counts": "ooooooooo0"}, "not a compressed"),
        ([[0, 0, 4, 0, 4]], "flat list"),
        ([[0, 0, 4, 0, 4, float("nan")]], "flat list"),
        ([0, 0, 4, 0, 4, 4], "flat list"),
        ([[0, 0, 4, 0, 4, 1e12]], "beyond 1000000 pixels"),
        (["circle"], "flat list"),
        ("circle", "not str"),
        (np.ones((WIDTH, HEIGHT), np.uint8), r"shape \[\d, \d\], its frame has size"),
    ],
)
def test_damaged_masks_are_refused(segmentation, message):
    with pytest.raises(UserError, match=message):
        to_rle(segmentation, HEIGHT, WIDTH)


@pytest.mark.parametrize("place", [0, 4, 8])
@pytest.mark.parametrize("counts", ["P", "\udc80", [10, 20], [66, -3], [2**40], [60, "x"], [[63]]])
def test_the_damaged_mask_among_several_is_named(place, counts):
    rng = np.random.default_rng(0)
    masks = [compressed(random_mask(rng)) for _ in range(8)]
    if not isinstance(counts, str):
        masks = [{**x, "counts": run_lengths(mask_util.decode(x))} for x in masks]
    masks.insert(place, {"size": [HEIGHT, WIDTH], "counts": counts})
    with pytest.raises(MaskError) as error:
        to_rles([None, *masks], HEIGHT, WIDTH)
    assert error.value.index == place + 1


def test_runs_of_negative_length_are_refused():
    # The runs 10, 20, 30, -3, 7 together fill the frame.
    with pytest.raises(MaskError, match="do not fill"):
        to_rle({"size": [8, 8], "counts": ":d0n0YOYO"}, 8, 8)


@pytest.mark.parametrize("part", PARTS.values(), ids=PARTS)
@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.9, 1.0])
def test_codes_of_crops_are_those_of_the_whole_masks(part, share):
    top, left, height, width = part
    for seed in range(20):
        crop = np.random.default_rng(seed).random((width, height)) < share
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[top : top + height, left : left + width] = crop.T
        expected = mask_util.encode(np.asfortranarray(mask))
        expected["counts"] = expected["counts"].decode()
        assert encode_crop(top, left, crop.T, (HEIGHT, WIDTH)) == expected
        for same in (mask, mask.astype(bool), np.asfortranarray(mask)):
            assert encode_mask(same) == expected


def test_what_was_checked_is_not_checked_again_unless_it_is_of_another_size():
    rle = CheckedRle(to_rle(compressed(random_mask(np.random.default_rng(0))), HEIGHT, WIDTH))
    assert to_rle(rle, HEIGHT, WIDTH) is rle
    with pytest.raises(MaskError, match="size"):
        to_rle(rle, HEIGHT + 1, WIDTH)
    with pytest.raises(MaskError):
        to_rle({**rle, "counts": rle["counts"][:-1]}, HEIGHT, WIDTH)
