"""The metric against a second one, see conftest, on random and on chosen tracks."""

import math

import numpy as np
import pytest
from annotation_files import compressed, uncompressed

from mobileinst_core.ytvis.evaluate import evaluate_ytvis

TOLERANCE = 1e-12


def box(size, top, left, bottom, right) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[top:bottom, left:right] = True
    return mask


def dataset(videos, annotations, categories=(1,)) -> dict:
    """Ground truth; ``videos`` are (id, height, width, length)."""
    keys = ("id", "height", "width", "length")
    return {
        "videos": [dict(zip(keys, video, strict=True)) for video in videos],
        "categories": [{"id": c, "name": f"class {c}"} for c in categories],
        "annotations": [
            {"id": index + 1, "iscrowd": 0, **annotation}
            for index, annotation in enumerate(annotations)
        ],
    }


def track(masks, video=1, category=1, encode=compressed, **extra) -> dict:
    segmentations = [None if mask is None else encode(mask) for mask in masks]
    return {"video_id": video, "category_id": category, "segmentations": segmentations, **extra}


@pytest.fixture
def assert_same(reference):
    """Compare both metrics on one case; returns the metrics."""

    def compare(gt, results) -> dict:
        summary, per_class = reference(gt, results)
        metrics = evaluate_ytvis(gt, results)
        assert metrics.summary.keys() == summary.keys()
        for name, value in summary.items():
            assert metrics.summary[name] == pytest.approx(value, abs=TOLERANCE, nan_ok=True), name
        expected = [per_class[category] for category in sorted(per_class)]
        actual = list(metrics.per_class.values())
        assert actual == pytest.approx(expected, abs=TOLERANCE, nan_ok=True)
        return metrics.summary

    return compare


def random_boxes(rng, size, length) -> list:
    """A moving box that is sometimes absent; areas reach all three ranges."""
    height, width = size
    h, w = rng.uniform(0.1, 1, 2) * size
    top, left = rng.uniform(0, 1, 2) * (height - h, width - w)
    speed = rng.uniform(-4, 4, 2)
    masks = []
    for frame in range(length):
        y, x = np.array((top, left)) + frame * speed
        area = np.clip([y, x, y + h, x + w], 0, [height, width] * 2).astype(int)
        masks.append(None if rng.random() < 0.2 else box(size, *area))
    return masks


def disturbed(rng, masks, size) -> list:
    """A prediction for a track: cut boxes, frames lost, sometimes a whole other track."""
    result = []
    other = random_boxes(rng, size, len(masks))
    switch = rng.integers(len(masks)) if rng.random() < 0.3 else len(masks)
    for frame, mask in enumerate(masks):
        if frame >= switch:
            mask = other[frame]
        if mask is not None and rng.random() < 0.5:
            mask = mask.copy()
            mask[: rng.integers(size[0] // 2)] = False
        if rng.random() < 0.1:
            mask = None if rng.random() < 0.5 else np.zeros(size, bool)
        result.append(mask)
    return result


def random_case(seed) -> tuple[dict, list]:
    rng = np.random.default_rng(seed)
    categories = [int(c) for c in rng.permutation([2, 5, 9])]
    videos = [
        (int(video), int(rng.integers(120, 300)), int(rng.integers(120, 300)), length)
        for video, length in zip(rng.permutation([3, 7, 12]), rng.integers(1, 6, 3), strict=True)
    ]
    annotations, results = [], []
    for video, height, width, length in videos:
        for _ in range(rng.integers(0, 5)):
            # The last category has predictions only.
            category = int(rng.choice(categories[:2]))
            masks = random_boxes(rng, (height, width), length)
            encode = (compressed, uncompressed)[rng.integers(2)]
            annotation = track(masks, video, category, encode, iscrowd=int(rng.random() < 0.2))
            if rng.random() < 0.5:
                annotation["areas"] = [None if m is None else int(m.sum()) for m in masks]
            annotations.append(annotation)
            for _ in range(rng.integers(0, 4)):
                predicted = disturbed(rng, masks, (height, width))
                label = category if rng.random() < 0.8 else int(rng.choice(categories))
                # Few different scores, so that there are ties within and between videos.
                score = round(float(rng.random()), 1)
                results.append(track(predicted, video, label, score=score))
    annotations.append(track([None] * videos[0][3], videos[0][0], categories[0]))
    order = rng.permutation(len(results))
    return dataset(videos, annotations, categories), [results[index] for index in order]


@pytest.mark.parametrize("seed", range(16))
def test_random_tracks(assert_same, seed):
    assert_same(*random_case(seed))


def test_a_video_of_many_frames(assert_same):
    """pycocotools cannot measure more than 255 masks at once."""
    size, length = (10, 20), 300
    gt = dataset([(1, *size, length)], [track([box(size, 2, 3, 8, 9)] * length)])
    masks = [box(size, 2, 3 + frame % 2, 8, 9) for frame in range(length)]
    assert assert_same(gt, [track(masks, score=0.5)])["AP"] > 80


@pytest.mark.parametrize("shared", range(10, 21))
def test_iou_equal_to_a_threshold_matches(assert_same, shared):
    size = (1, 20)
    gt = dataset([(1, 1, 20, 1)], [track([box(size, 0, 0, 1, 20)])])
    results = [track([box(size, 0, 0, 1, shared)], score=0.5)]
    summary = assert_same(gt, results)
    # The IoU is shared / 20; thresholds 10 / 20, 11 / 20, ... 19 / 20.
    assert summary["AP"] == pytest.approx(10 * min(shared - 9, 10))


def test_a_crowd_absorbs_several_predictions_by_the_ordinary_iou(assert_same):
    size = (10, 20)
    crowd, thing = box(size, 0, 0, 10, 10), box(size, 0, 12, 10, 20)
    gt = dataset([(1, 10, 20, 1)], [track([crowd], iscrowd=1), track([thing])])
    large, part = box(size, 0, 0, 9, 10), box(size, 0, 0, 2, 2)
    absorbed = [track([large], score=0.9), track([large], score=0.8), track([thing], score=0.7)]
    assert assert_same(gt, absorbed)["AP50"] == pytest.approx(100)
    # A small part of a crowd is a false prediction here; in COCO it would be ignored.
    assert assert_same(gt, [track([part], score=0.9), absorbed[2]])["AP50"] == pytest.approx(50)


def test_only_crowds_are_no_ground_truth(assert_same):
    square = box((10, 10), 0, 0, 5, 5)
    gt = dataset([(1, 10, 10, 1)], [track([square], iscrowd=1)])
    assert all(math.isnan(x) for x in assert_same(gt, [track([square], score=0.5)]).values())


@pytest.mark.parametrize("side", [127, 128, 129, 255, 256, 257])
def test_area_ranges_include_their_bounds(assert_same, side):
    size = (260, 260)
    square = box(size, 0, 0, side, side)
    gt = dataset([(1, 260, 260, 3)], [track([square, None, square])])
    summary = assert_same(gt, [track([square, None, square], score=0.5)])
    defined = {area for area in "sml" if not math.isnan(summary[f"AP{area}"])}
    bounds = {127: "s", 128: "sm", 129: "m", 255: "m", 256: "ml", 257: "l"}
    assert defined == set(bounds[side])


def test_more_predictions_than_are_evaluated(assert_same):
    size = (10, 10)
    square, other = box(size, 0, 0, 5, 5), box(size, 6, 6, 9, 9)
    gt = dataset([(1, 10, 10, 1)], [track([square])])
    wrong = [track([other], score=0.5) for _ in range(99)]
    # Equal scores: the order of the file decides who is among the first hundred.
    assert assert_same(gt, [*wrong, track([square], score=0.5)])["AR100"] == pytest.approx(100)
    late = [*wrong, track([other], score=0.5), track([square], score=0.5)]
    assert assert_same(gt, late)["AR100"] == 0
    first = [*wrong, track([other], score=0.5), track([square], score=0.6)]
    assert assert_same(gt, first)["AR1"] == pytest.approx(100)
