"""Many RLE at once, against the pixels."""

import numpy as np
import pytest
from annotation_files import run_lengths
from pycocotools import mask as mask_util

from mobileinst_core.masks.run_lengths import compressed_text, read_runs


def text_of(mask: np.ndarray) -> str:
    return mask_util.encode(np.asfortranarray(mask.astype(np.uint8)))["counts"].decode()


def random_masks(rng: np.random.Generator) -> list[np.ndarray]:
    """Of several sizes, some empty, some full, with and without background at either end."""
    masks = []
    for _ in range(12):
        size = rng.integers(1, 12, 2)
        masks.append((rng.random(size) < rng.choice([0, 0.1, 0.5, 0.9, 1])).astype(np.uint8))
    masks[0][-1, -1] = masks[1][-1, -1] = 1
    masks[1][0, 0] = masks[2][0, 0] = 1
    return masks


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("kind", ["text", "integers", "both"])
def test_runs_are_those_of_the_pixels(seed, kind):
    rng = np.random.default_rng(seed)
    masks = random_masks(rng)
    codes = []
    for mask in masks:
        as_text = kind == "text" or (kind == "both" and rng.random() < 0.5)
        code = text_of(mask) if as_text else run_lengths(mask)
        codes.append(None if not mask.any() and rng.random() < 0.5 else code)
    runs = read_runs(codes, [mask.size for mask in masks])

    assert runs.areas.tolist() == [mask.sum() for mask in masks]
    covered = np.zeros(sum(mask.size for mask in masks), dtype=int)
    for start, stop in runs.edges().tolist():
        covered[start:stop] += 1
    assert covered.tolist() == np.concatenate([mask.ravel(order="F") for mask in masks]).tolist()
    begins = np.cumsum([0, *(mask.size for mask in masks)])
    for index in range(len(masks)):
        own = runs.edges()[runs.rows[index] : runs.rows[index + 1]]
        assert len(own)
        assert begins[index] <= own.min() <= own.max() <= begins[index + 1]
    assert not runs.have_gaps().any()


def test_no_mask():
    runs = read_runs([], [])
    assert len(runs.edges()) == len(runs.areas) == len(runs.have_gaps()) == 0


def test_masks_with_empty_runs():
    codes = [[5, 3, 56], [5, 3, 0, 2, 54], [5, 0, 3, 1, 55], [0, 64], [64], [0, 64], [60, 4, 0, 0]]
    expected = [False, True, True, False, False, False, True]
    for form in (codes, [compressed_text(code) for code in codes]):
        assert read_runs(form, [64] * len(codes)).have_gaps().tolist() == expected


def test_numbers_of_every_length():
    rng = np.random.default_rng(0)
    pixels = 30_000_000
    counts = [5, 20, 17, 500, 15_000, 2, 600_000, 1, 4_000_000, 7, 20_000_000, 3]
    for _ in range(20):
        lengths = rng.permutation(counts).tolist()
        lengths.append(pixels - sum(lengths))
        area = sum(lengths[1::2])
        # Together more pixels than 32 bits can count.
        runs = read_runs([compressed_text(lengths)] * 100, [pixels] * 100)
        assert runs.areas.tolist() == [area] * 100
        assert runs.edges()[0, 0] == lengths[0]
        assert runs.edges()[-1, 0] == runs.edges()[-1, 1] == 100 * pixels
