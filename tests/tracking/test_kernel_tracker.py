import itertools
import pickle

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn.functional import normalize

from mobileinst_d2.tracking import KernelTracker

MODES = ("prev", "ema", "bank")


def scores_of(kernels: torch.Tensor) -> torch.Tensor:
    """Scores that tell the queries apart."""
    return torch.arange(len(kernels), dtype=torch.float32)[:, None].repeat(1, 3)


@pytest.mark.parametrize("mode", MODES)
def test_at_the_first_key_frame_slots_are_queries(mode):
    kernels = torch.randn(6, 8)
    scores = scores_of(kernels)
    view = KernelTracker(mode=mode).keyframe(kernels, scores)
    assert view.order.tolist() == list(range(6))
    assert torch.equal(view.kernels, kernels)
    assert torch.equal(view.scores, scores)


@pytest.mark.parametrize("mode", MODES)
def test_a_permutation_of_the_queries_is_recovered(mode):
    tracker = KernelTracker(mode=mode)
    kernels = torch.randn(20, 16)
    tracker.keyframe(kernels, scores_of(kernels))
    for seed in range(5):
        order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
        noisy = kernels + 0.05 * torch.randn(20, 16)
        view = tracker.keyframe(noisy[order], scores_of(kernels)[order])
        assert torch.equal(order[view.order], torch.arange(20))
        assert torch.equal(view.scores, scores_of(kernels))
        assert torch.equal(view.kernels, noisy)


@pytest.mark.parametrize("mode", MODES)
def test_only_the_direction_of_a_kernel_counts(mode):
    tracker = KernelTracker(mode=mode)
    kernels = torch.randn(8, 16)
    tracker.keyframe(kernels, scores_of(kernels))
    scales = torch.logspace(-3, 3, 8)[:, None]
    view = tracker.keyframe((kernels * scales).flip(0), scores_of(kernels).flip(0))
    assert view.order.tolist() == list(range(7, -1, -1))


@pytest.mark.parametrize("count", [1, 5, 30])
def test_the_association_minimises_the_cosine_distance(count):
    tracker = KernelTracker()
    first, second = torch.randn(2, count, 8)
    tracker.keyframe(first, scores_of(first))
    view = tracker.keyframe(second, scores_of(second))
    cost = 1 - normalize(first, dim=1) @ normalize(second, dim=1).T
    rows, found = linear_sum_assignment(cost.numpy())
    assert cost[torch.arange(count), view.order].sum().item() == pytest.approx(
        cost[rows, found].sum().item(), rel=1e-5
    )
    assert sorted(view.order.tolist()) == list(range(count))


def test_the_association_is_the_best_of_all_permutations():
    tracker = KernelTracker()
    first, second = torch.randn(2, 5, 4)
    tracker.keyframe(first, scores_of(first))
    view = tracker.keyframe(second, scores_of(second))
    similarity = normalize(first, dim=1) @ normalize(second, dim=1).T
    slots = torch.arange(5)
    best = max(similarity[slots, list(p)].sum() for p in itertools.permutations(range(5)))
    assert similarity[slots, view.order].sum().item() == pytest.approx(best.item(), rel=1e-5)


def test_key_frames_are_compared_with_the_one_before_and_not_with_the_first():
    # Each kernel turns a little at every key frame, in the end by 90 degrees: compared with the
    # first frame the two would have changed places.
    tracker = KernelTracker()
    for step in range(10):
        angles = torch.tensor([0.0, 90.0]) + 10 * step
        radians = angles.deg2rad()
        kernels = torch.stack([radians.cos(), radians.sin()], dim=1)
        flip = step % 2 == 1
        view = tracker.keyframe(kernels.flip(0) if flip else kernels, scores_of(kernels))
        assert torch.allclose(view.kernels, kernels, atol=1e-6)
        assert view.order.tolist() == ([1, 0] if flip else [0, 1])


@pytest.mark.parametrize("mode", MODES)
def test_other_embeddings_can_be_compared(mode):
    tracker = KernelTracker(mode=mode)
    kernels, embeddings = torch.randn(6, 8), torch.randn(6, 4)
    tracker.keyframe(kernels, scores_of(kernels), embeddings)
    order = torch.randperm(6)
    unrelated = torch.randn(6, 8)
    view = tracker.keyframe(unrelated, scores_of(kernels), embeddings[order])
    assert torch.equal(order[view.order], torch.arange(6))
    assert torch.equal(view.kernels, unrelated[view.order])


@pytest.mark.parametrize("mode", MODES)
def test_zero_kernels_are_no_problem(mode):
    tracker = KernelTracker(mode=mode)
    kernels = torch.randn(4, 8)
    kernels[1] = 0
    for _ in range(3):
        view = tracker.keyframe(kernels, scores_of(kernels))
        assert view.kernels.isfinite().all()
        assert sorted(view.order.tolist()) == [0, 1, 2, 3]
    view = tracker.keyframe(torch.zeros(4, 8), scores_of(kernels))
    assert sorted(view.order.tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("mode", MODES)
def test_a_reset_forgets_the_video(mode):
    tracker = KernelTracker(mode=mode)
    kernels = torch.randn(6, 8)
    tracker.keyframe(kernels, scores_of(kernels))
    tracker.reset()
    assert tracker.keyframe(kernels.flip(0), scores_of(kernels)).order.tolist() == list(range(6))


def drifting(length: int, count: int = 6) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Kernels and scores of a video; the queries change places and the scores go up and down."""
    kernels = torch.randn(count, 8)
    video = []
    for _ in range(length):
        kernels = kernels + 0.4 * torch.randn(count, 8)
        video.append((kernels[torch.randperm(count)], torch.rand(count, 3) ** 3))
    return video


def same_state(state: dict, other: dict) -> bool:
    return state.keys() == other.keys() and all(
        torch.equal(value, other[key]) if isinstance(value, torch.Tensor) else value == other[key]
        for key, value in state.items()
    )


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("begin", [0, 1, 5])
def test_the_state_goes_on_in_another_tracker(mode, begin):
    video = drifting(10)
    tracker, other = KernelTracker(mode=mode), KernelTracker(mode=mode)
    for kernels, scores in video[:begin]:
        tracker.keyframe(kernels, scores)
    state = tracker.state_dict()
    kept = pickle.loads(pickle.dumps(state))
    other.load_state_dict(kept)
    for kernels, scores in video[begin:]:
        expected = tracker.keyframe(kernels, scores)
        assert torch.equal(other.keyframe(kernels, scores).order, expected.order)
        assert same_state(other.state_dict(), tracker.state_dict())
    # What was handed out stays as it was.
    assert same_state(state, kept)


def test_the_state_of_another_association_is_refused():
    tracker = KernelTracker(mode="bank", bank_size=2)
    tracker.keyframe(torch.randn(6, 8), torch.rand(6, 3))
    with pytest.raises(ValueError, match="MODE 'bank', this tracker has 'ema'"):
        KernelTracker(mode="ema").load_state_dict(tracker.state_dict())
    with pytest.raises(ValueError, match="BANK_SIZE 2, this tracker has 3"):
        KernelTracker(mode="bank", bank_size=3).load_state_dict(tracker.state_dict())


@pytest.mark.parametrize(("mode", "limit"), [("prev", 55_000), ("ema", 55_000), ("bank", 220_000)])
def test_the_state_does_not_grow(mode, limit):
    tracker = KernelTracker(mode=mode)
    sizes = set()
    for _ in range(20):
        tracker.keyframe(torch.randn(100, 128), torch.rand(100, 40))
        sizes.add(len(pickle.dumps(tracker.state_dict())))
    assert len(sizes) == 1
    assert sizes.pop() < limit


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("rows", [[2], [0, 1, 2, 3, 4, 5]])
def test_identities_outlast_kernels_of_no_numbers(bad, rows, mode):
    tracker = KernelTracker(mode=mode)
    kernels = torch.randn(6, 8)
    tracker.keyframe(kernels, scores_of(kernels))
    broken = kernels.clone()
    broken[rows] = bad
    view = tracker.keyframe(broken, scores_of(kernels))
    assert sorted(view.order.tolist()) == list(range(6))
    assert tracker.state_dict()["reference"].isfinite().all()
    order = torch.randperm(6)
    view = tracker.keyframe(kernels[order], scores_of(kernels)[order])
    assert torch.equal(order[view.order], torch.arange(6))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rows", [[2], [0, 1, 2, 3, 4, 5]])
def test_a_video_may_begin_with_kernels_of_no_numbers(rows, mode):
    tracker = KernelTracker(mode=mode)
    kernels = torch.randn(6, 8)
    broken = kernels.clone()
    broken[rows] = float("nan")
    tracker.keyframe(broken, scores_of(kernels))
    first = tracker.keyframe(kernels, scores_of(kernels)).order
    assert tracker.state_dict()["reference"].isfinite().all()
    assert torch.equal(tracker.keyframe(kernels, scores_of(kernels)).order, first)


@pytest.mark.parametrize("failed", ["kernels", "scores"])
@pytest.mark.parametrize("mode", ["ema", "bank"])
def test_a_failed_key_frame_changes_no_reference(mode, failed):
    tracker = KernelTracker(mode=mode, ema_momentum=1.0)
    for _ in range(2):
        tracker.keyframe(torch.randn(6, 8), torch.ones(6, 3))
    before = tracker.state_dict()
    outputs = {"kernels": torch.randn(6, 8), "scores": torch.ones(6, 3)}
    outputs[failed] *= float("nan")
    tracker.keyframe(**outputs)
    assert same_state(tracker.state_dict(), before)


def test_by_default_each_key_frame_is_the_reference_of_the_next():
    tracker = KernelTracker()
    reference = None
    for kernels, scores in drifting(10):
        order = torch.arange(6)
        if reference is not None:
            similarity = normalize(reference, dim=1) @ normalize(kernels, dim=1).T
            _, order = map(torch.as_tensor, linear_sum_assignment(-similarity.numpy()))
        assert torch.equal(tracker.keyframe(kernels, scores).order, order)
        reference = kernels[order]
        assert torch.equal(tracker.state_dict()["reference"], reference)


def references(embeddings: torch.Tensor, scores: list[float], **options: object) -> torch.Tensor:
    """The reference of a single slot after each key frame, as unit vectors."""
    tracker = KernelTracker(**options)
    found = []
    for embedding, score in zip(embeddings, scores, strict=True):
        tracker.keyframe(embedding[None], torch.tensor([[0.01, score]]))
        found.append(normalize(tracker.state_dict()["reference"], dim=1)[0])
    return torch.stack(found)


def test_the_moving_average_is_over_confident_key_frames():
    embeddings = torch.randn(6, 8)
    units = normalize(embeddings, dim=1)
    found = references(
        embeddings,
        [0.1, 0.5, 0.49, 0.9, 0.2, 0.5],
        mode="ema",
        ema_momentum=0.25,
        update_threshold=0.5,
    )
    average = units[1]  # the first confident one overwrites what was there
    expected = [units[0], average, average]
    average = 0.75 * average + 0.25 * units[3]
    expected += [average, average, 0.75 * average + 0.25 * units[5]]
    torch.testing.assert_close(found, normalize(torch.stack(expected), dim=1))


def test_the_bank_holds_the_last_confident_key_frames():
    embeddings = torch.randn(7, 8)
    units = normalize(embeddings, dim=1)
    scores = [0.1, 0.6, 0.3, 0.8, 0.9, 0.2, 0.5]
    found = references(embeddings, scores, mode="bank", bank_size=3, update_threshold=0.5)
    two = (0.6 + 1 / 2) * units[1] + (0.8 + 1) * units[3]
    three = (0.6 + 1 / 3) * units[1] + (0.8 + 2 / 3) * units[3] + (0.9 + 1) * units[4]
    full = (0.8 + 1 / 3) * units[3] + (0.9 + 2 / 3) * units[4] + (0.5 + 1) * units[6]
    expected = [units[0], units[1], units[1], two, three, three, full]
    torch.testing.assert_close(found, normalize(torch.stack(expected), dim=1))


@pytest.mark.parametrize("options", [{"mode": "ema", "ema_momentum": 1.0}, {"mode": "bank"}])
def test_the_last_confident_key_frame_alone_can_be_the_reference(options):
    embeddings = torch.randn(4, 8)
    found = references(embeddings, [0.9, 0.8, 0.1, 0.7], bank_size=1, **options)
    torch.testing.assert_close(found, normalize(embeddings[[0, 1, 1, 3]], dim=1))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "mean"}, r"TEST\.TRACKING\.MODE is 'mean'"),
        ({"ema_momentum": 0.0}, r"TEST\.TRACKING\.EMA_MOMENTUM is 0\.0"),
        ({"ema_momentum": 1.1}, r"TEST\.TRACKING\.EMA_MOMENTUM is 1\.1"),
        ({"bank_size": 0}, r"TEST\.TRACKING\.BANK_SIZE is 0"),
        ({"update_threshold": -0.1}, r"TEST\.TRACKING\.UPDATE_THRESHOLD is -0\.1"),
        ({"update_threshold": 1.1}, r"TEST\.TRACKING\.UPDATE_THRESHOLD is 1\.1"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        KernelTracker(**options)
