import itertools
import pickle

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch.nn.functional import normalize

from mobileinst_d2.tracking import KernelTracker


def scores_of(kernels: torch.Tensor) -> torch.Tensor:
    """Scores that tell the queries apart."""
    return torch.arange(len(kernels), dtype=torch.float32)[:, None].repeat(1, 3)


def test_at_the_first_key_frame_slots_are_queries():
    kernels = torch.randn(6, 8)
    scores = scores_of(kernels)
    view = KernelTracker().keyframe(kernels, scores)
    assert view.order.tolist() == list(range(6))
    assert torch.equal(view.kernels, kernels)
    assert torch.equal(view.scores, scores)


def test_a_permutation_of_the_queries_is_recovered():
    tracker = KernelTracker()
    kernels = torch.randn(20, 16)
    tracker.keyframe(kernels, scores_of(kernels))
    for seed in range(5):
        order = torch.randperm(20, generator=torch.Generator().manual_seed(seed))
        noisy = kernels + 0.05 * torch.randn(20, 16)
        view = tracker.keyframe(noisy[order], scores_of(kernels)[order])
        assert torch.equal(order[view.order], torch.arange(20))
        assert torch.equal(view.scores, scores_of(kernels))
        assert torch.equal(view.kernels, noisy)


def test_only_the_direction_of_a_kernel_counts():
    tracker = KernelTracker()
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


def test_other_embeddings_can_be_compared():
    tracker = KernelTracker()
    kernels, embeddings = torch.randn(6, 8), torch.randn(6, 4)
    tracker.keyframe(kernels, scores_of(kernels), embeddings)
    order = torch.randperm(6)
    unrelated = torch.randn(6, 8)
    view = tracker.keyframe(unrelated, scores_of(kernels), embeddings[order])
    assert torch.equal(order[view.order], torch.arange(6))
    assert torch.equal(view.kernels, unrelated[view.order])


def test_zero_kernels_are_no_problem():
    tracker = KernelTracker()
    kernels = torch.randn(4, 8)
    kernels[1] = 0
    for _ in range(3):
        view = tracker.keyframe(kernels, scores_of(kernels))
        assert view.kernels.isfinite().all()
        assert sorted(view.order.tolist()) == [0, 1, 2, 3]
    view = tracker.keyframe(torch.zeros(4, 8), scores_of(kernels))
    assert sorted(view.order.tolist()) == [0, 1, 2, 3]


def test_a_reset_forgets_the_video():
    tracker = KernelTracker()
    kernels = torch.randn(6, 8)
    tracker.keyframe(kernels, scores_of(kernels))
    tracker.reset()
    assert tracker.keyframe(kernels.flip(0), scores_of(kernels)).order.tolist() == list(range(6))


def test_the_state_goes_on_in_another_tracker():
    kernels = torch.randn(6, 8)
    tracker, other = KernelTracker(), KernelTracker()
    tracker.keyframe(kernels, scores_of(kernels))
    other.load_state_dict(pickle.loads(pickle.dumps(tracker.state_dict())))
    order = torch.randperm(6)
    for state in (tracker, other):
        view = state.keyframe(kernels[order], scores_of(kernels)[order])
        assert torch.equal(order[view.order], torch.arange(6))


def test_the_state_does_not_grow():
    tracker = KernelTracker()
    sizes = set()
    for _ in range(20):
        kernels = torch.randn(100, 128)
        tracker.keyframe(kernels, torch.rand(100, 40))
        sizes.add(len(pickle.dumps(tracker.state_dict())))
    assert len(sizes) == 1
    assert sizes.pop() < 100_000


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("rows", [[2], [0, 1, 2, 3, 4, 5]])
def test_identities_outlast_kernels_of_no_numbers(bad, rows):
    tracker = KernelTracker()
    kernels = torch.randn(6, 8)
    tracker.keyframe(kernels, scores_of(kernels))
    broken = kernels.clone()
    broken[rows] = bad
    view = tracker.keyframe(broken, scores_of(kernels))
    assert sorted(view.order.tolist()) == list(range(6))
    order = torch.randperm(6)
    view = tracker.keyframe(kernels[order], scores_of(kernels)[order])
    assert torch.equal(order[view.order], torch.arange(6))
