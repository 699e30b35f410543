import pytest
import torch
from criterion_inputs import FixedMatcher, average_over_processes, make_outputs, make_targets
from tiny_models import tiny_config

from mobileinst_d2.modeling.criterion import SparseInstCriterion

LOSSES = ("loss_cls", "loss_dice", "loss_mask", "loss_obj")
# Three objects fall on one process, one on the other.
COUNTS = (3, 1)
MATCHES = [([0, 1, 2], [2, 1, 0]), ([1], [0])]


def make_criterion(normalization: str, *matches: tuple) -> SparseInstCriterion:
    return SparseInstCriterion(matcher=FixedMatcher(*matches), normalization=normalization)


def losses_on_processes(monkeypatch, normalization: str, targets: list, outputs: dict) -> dict:
    """Mean over two processes with one image each."""

    def on(image: int) -> dict:
        own = {name: x[image : image + 1] for name, x in outputs.items()}
        return make_criterion(normalization, MATCHES[image])(own, targets[image : image + 1])

    return average_over_processes(monkeypatch, [lambda: on(0), lambda: on(1)])


def test_by_default_it_does_not_matter_on_which_process_objects_fall(monkeypatch):
    targets, outputs = make_targets(*COUNTS), make_outputs(2)
    whole = make_criterion("global", *MATCHES)(outputs, targets)
    spread = losses_on_processes(monkeypatch, "global", targets, outputs)
    for name in LOSSES:
        torch.testing.assert_close(spread[name], whole[name])


def test_as_published_mask_and_objectness_are_means_of_each_process(monkeypatch):
    targets, outputs = make_targets(*COUNTS), make_outputs(2)
    spread = losses_on_processes(monkeypatch, "as_published", targets, outputs)
    alone = [
        make_criterion("global", MATCHES[i])(
            {name: x[i : i + 1] for name, x in outputs.items()}, targets[i : i + 1]
        )
        for i in range(2)
    ]
    whole = make_criterion("global", *MATCHES)(outputs, targets)
    for name in ("loss_mask", "loss_obj"):
        torch.testing.assert_close(spread[name], (alone[0][name] + alone[1][name]) / 2)
        assert not torch.allclose(spread[name], whole[name])
    for name in ("loss_cls", "loss_dice"):
        torch.testing.assert_close(spread[name], whole[name])


def test_the_default_weights_are_those_of_the_public_code():
    targets, outputs = make_targets(*COUNTS), make_outputs(2)
    criterion = SparseInstCriterion(tiny_config())
    criterion.matcher = FixedMatcher(*MATCHES)
    plain = SparseInstCriterion(
        matcher=FixedMatcher(*MATCHES),
        **dict.fromkeys(("class_weight", "dice_weight", "mask_weight", "objectness_weight"), 1.0),
    )(outputs, targets)
    for name, weight in zip(LOSSES, (2, 2, 5, 1), strict=True):
        torch.testing.assert_close(criterion(outputs, targets)[name], weight * plain[name])


def test_an_unknown_normalization_is_named():
    with pytest.raises(ValueError, match=r"normalization is 'mean', .*'as_published'"):
        make_criterion("mean")
