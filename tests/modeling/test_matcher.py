import itertools

import pytest
import torch

from mobileinst_d2.modeling.matcher import HungarianMatcher
from mobileinst_d2.modeling.targets import FrameTargets


def random_case(queries: int, objects: int, classes: int = 3, size: int = 6):
    class_logits = torch.randn(queries, classes)
    mask_logits = torch.randn(queries, size, size) * 2
    target = FrameTargets(
        torch.randint(classes, (objects,)),
        (torch.rand(objects, size, size) > 0.5).float(),
        torch.arange(objects),
    )
    return class_logits, mask_logits, target


def naive_scores(class_logits, mask_logits, target, mask_power=0.8, class_power=0.2):
    """dice^0.8 * p^0.2 of every query and object, one at a time."""
    scores = torch.zeros(len(mask_logits), len(target.labels))
    for n, logits in enumerate(mask_logits):
        for m, (label, mask) in enumerate(zip(target.labels, target.masks, strict=True)):
            p = logits.sigmoid()
            dice = 2 * (p * mask).sum() / ((p**2).sum() + (mask**2).sum() + 1e-4)
            scores[n, m] = dice**mask_power * class_logits[n, label].sigmoid() ** class_power
    return scores


def best_total(scores: torch.Tensor) -> float:
    """The largest total of a one-to-one assignment, over all of them."""
    if scores.shape[0] < scores.shape[1]:
        scores = scores.T
    columns = range(scores.shape[1])
    choices = itertools.permutations(range(scores.shape[0]), len(columns))
    return max(sum(scores[r, c].item() for r, c in zip(x, columns, strict=True)) for x in choices)


@pytest.mark.parametrize(("queries", "objects"), [(5, 3), (4, 4), (3, 5), (6, 1)])
@pytest.mark.parametrize("powers", [(0.8, 0.2), (0.0, 1.0)])
def test_the_assignment_maximises_the_matching_score(queries, objects, powers):
    mask_power, class_power = powers
    matcher = HungarianMatcher(mask_power=mask_power, class_power=class_power)
    for _ in range(5):
        class_logits, mask_logits, target = random_case(queries, objects)
        ((rows, columns),) = matcher(class_logits[None], mask_logits[None], [target])
        scores = naive_scores(class_logits, mask_logits, target, *powers)
        assert len(rows) == len(columns) == min(queries, objects)
        assert len(set(rows.tolist())) == len(rows)
        assert len(set(columns.tolist())) == len(columns)
        assert scores[rows, columns].sum().item() == pytest.approx(best_total(scores), rel=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("place", ["classes", "masks", "one mask"])
def test_outputs_that_are_no_numbers_still_get_an_assignment(bad, place):
    class_logits, mask_logits, target = random_case(4, 2)
    if place == "classes":
        class_logits.fill_(bad)
    else:
        mask_logits[0 if place == "one mask" else slice(None)] = bad
    ((queries, objects),) = HungarianMatcher()(class_logits[None], mask_logits[None], [target])
    assert sorted(objects.tolist()) == [0, 1]
    assert len(set(queries.tolist())) == 2


def test_half_precision_matches_like_single_precision():
    # Of masks whose sums leave its range.
    class_logits, mask_logits, target = random_case(6, 4, size=500)
    matcher = HungarianMatcher()
    expected = matcher(class_logits[None], mask_logits[None], [target])
    with torch.autocast("cpu", dtype=torch.float16):
        found = matcher(class_logits[None], mask_logits[None], [target])
    assert torch.equal(found[0][0], expected[0][0])
    assert torch.equal(found[0][1], expected[0][1])
