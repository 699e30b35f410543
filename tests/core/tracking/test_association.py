import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from mobileinst_core.tracking.association import (
    TRACKING_MODES,
    MovingAverage,
    PreviousKeyframe,
    associate,
    build_tracker,
    normalize,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def kernels_of(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.standard_normal(shape, np.float32)


def scores_of(kernels: np.ndarray) -> np.ndarray:
    """Scores that tell the queries apart."""
    return np.repeat(np.arange(len(kernels), dtype=np.float32)[:, None], 3, axis=1)


def reference_of(tracker: object) -> np.ndarray:
    return tracker.state_dict()["reference"]


@pytest.mark.parametrize("mode", TRACKING_MODES)
def test_a_permutation_of_the_queries_is_recovered(mode, rng):
    tracker = build_tracker(mode)
    kernels = kernels_of(rng, 20, 16)
    scores = scores_of(kernels)
    tracker.associate(kernels, scores)
    for _ in range(5):
        order = rng.permutation(20)
        noisy = kernels + 0.05 * kernels_of(rng, 20, 16)
        assert np.array_equal(order[tracker.associate(noisy[order], scores[order])], np.arange(20))


@pytest.mark.parametrize("mode", TRACKING_MODES)
def test_only_the_direction_of_a_kernel_counts(mode, rng):
    tracker = build_tracker(mode)
    kernels = kernels_of(rng, 8, 16)
    tracker.associate(kernels, scores_of(kernels))
    scales = np.logspace(-3, 3, 8, dtype=np.float32)[:, None]
    order = tracker.associate((kernels * scales)[::-1], scores_of(kernels)[::-1])
    assert order.tolist() == list(range(7, -1, -1))


@pytest.mark.parametrize("count", [1, 5, 30])
def test_the_association_minimises_the_cosine_distance(count, rng):
    first, second = kernels_of(rng, 2, count, 8)
    first, second = normalize(first)[0], normalize(second)[0]
    order = associate(first, second)
    cost = 1 - first @ second.T
    rows, found = linear_sum_assignment(cost)
    assert cost[rows, order].sum() == pytest.approx(cost[rows, found].sum(), rel=1e-5)
    assert sorted(order.tolist()) == list(range(count))


def test_key_frames_are_compared_with_the_one_before_and_not_with_the_first():
    # Each kernel turns a little at every key frame, in the end by 90 degrees: compared with the
    # first frame the two would have changed places.
    tracker = PreviousKeyframe()
    for step in range(10):
        radians = np.deg2rad(np.array([0.0, 90.0], np.float32) + 10 * step)
        kernels = np.stack([np.cos(radians), np.sin(radians)], axis=1)
        flip = step % 2 == 1
        order = tracker.associate(kernels[::-1] if flip else kernels, scores_of(kernels))
        assert order.tolist() == ([1, 0] if flip else [0, 1])
        assert np.array_equal(reference_of(tracker), normalize(kernels)[0])


# Per key frame the query that shows an object, None where it is out of sight.
@pytest.mark.parametrize(
    ("queries", "kept_by"),
    [
        ([0, 0, 1, 1], TRACKING_MODES),
        ([0, 0, None, None, 0, 0], TRACKING_MODES),
        ([0, 0, None, None, 2, 2], ("ema",)),
    ],
)
@pytest.mark.parametrize("mode", TRACKING_MODES)
def test_an_object_keeps_its_track_out_of_sight(mode, queries, kept_by):
    tracker = build_tracker(mode)
    tracks = set()
    for query in queries:
        # The object has a direction of its own, and so has each query that does not show it.
        kernels, scores = np.eye(4, 5, dtype=np.float32), np.full((4, 1), 0.05, np.float32)
        if query is not None:
            kernels[query], scores[query] = np.eye(5)[4], 0.9
        order = tracker.associate(kernels, scores).tolist()
        if query is not None:
            tracks.add(order.index(query))
    assert len(tracks) == (1 if mode in kept_by else 2)


@pytest.mark.parametrize("mode", TRACKING_MODES)
def test_a_reset_forgets_the_video(mode, rng):
    tracker = build_tracker(mode)
    kernels = kernels_of(rng, 6, 8)
    tracker.associate(kernels, scores_of(kernels))
    tracker.reset()
    assert tracker.state_dict() == {}
    assert tracker.associate(kernels[::-1], scores_of(kernels)).tolist() == list(range(6))


@pytest.mark.parametrize("mode", TRACKING_MODES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("rows", [[2], [0, 1, 2, 3, 4, 5]])
@pytest.mark.parametrize("is_first", [False, True])
def test_identities_outlast_kernels_of_no_numbers(bad, rows, is_first, mode, rng):
    tracker = build_tracker(mode)
    kernels = kernels_of(rng, 6, 8)
    broken = kernels.copy()
    broken[rows] = bad
    for outputs in (broken, kernels) if is_first else (kernels, broken):
        tracks = tracker.associate(outputs, scores_of(kernels))
        assert sorted(tracks.tolist()) == list(range(6))
    tracks = tracks if is_first else np.arange(6)
    assert np.isfinite(reference_of(tracker)).all()
    order = rng.permutation(6)
    found = tracker.associate(kernels[order], scores_of(kernels)[order])
    assert np.array_equal(order[found], tracks)


@pytest.mark.parametrize("failed", ["kernels", "scores"])
def test_a_failed_key_frame_changes_no_average(failed, rng):
    tracker = MovingAverage(momentum=1.0)
    for _ in range(2):
        tracker.associate(kernels_of(rng, 6, 8), np.ones((6, 3), np.float32))
    before = tracker.state_dict()
    outputs = {"kernels": kernels_of(rng, 6, 8), "scores": np.ones((6, 3), np.float32)}
    outputs[failed] *= float("nan")
    tracker.associate(**outputs)
    np.testing.assert_equal(tracker.state_dict(), before)


def references(kernels: np.ndarray, scores: list[float], **options: float) -> np.ndarray:
    """The average of a single track after each key frame, as unit vectors."""
    tracker = MovingAverage(**options)
    found = []
    for kernel, score in zip(kernels, scores, strict=True):
        tracker.associate(kernel[None], np.array([[0.01, score]], np.float32))
        found.append(normalize(reference_of(tracker))[0][0])
    return np.stack(found)


def test_the_moving_average_is_over_confident_key_frames(rng):
    kernels = kernels_of(rng, 6, 8)
    units = normalize(kernels)[0]
    scores = [0.1, 0.5, 0.49, 0.9, 0.2, 0.5]
    found = references(kernels, scores, momentum=0.25, update_threshold=0.5)
    average = units[1]  # the first confident one overwrites what was there
    expected = [units[0], average, average]
    average = 0.75 * average + 0.25 * units[3]
    expected += [average, average, 0.75 * average + 0.25 * units[5]]
    np.testing.assert_allclose(found, normalize(np.stack(expected))[0], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"momentum": 0.0}, r"momentum is 0\.0"),
        ({"momentum": 1.1}, r"momentum is 1\.1"),
        ({"update_threshold": -0.1}, r"update_threshold is -0\.1"),
        ({"update_threshold": 1.1}, r"update_threshold is 1\.1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        MovingAverage(**options)


def test_an_unknown_mode_is_named():
    with pytest.raises(ValueError, match=r"mode is 'mean', choose one of \['prev', 'ema'\]"):
        build_tracker("mean")
