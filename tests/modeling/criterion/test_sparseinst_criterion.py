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


def test_as_published_mask_and_objectness_are_means_of_each_process(monkeypatch):
    """By default it does not matter on which process objects fall."""
    targets, outputs = make_targets(*COUNTS), make_outputs(2)

    def alone(normalization: str, image: int) -> dict:
        own = {name: x[image : image + 1] for name, x in outputs.items()}
        return make_criterion(normalization, MATCHES[image])(own, targets[image : image + 1])

    whole = make_criterion("global", *MATCHES)(outputs, targets)
    default, published = (
        average_over_processes(monkeypatch, [lambda n=n: alone(n, 0), lambda n=n: alone(n, 1)])
        for n in ("global", "as_published")
    )
    first, second = (alone("global", image) for image in range(2))
    for name in LOSSES:
        torch.testing.assert_close(default[name], whole[name])
        if name in ("loss_mask", "loss_obj"):
            torch.testing.assert_close(published[name], (first[name] + second[name]) / 2)
            assert not torch.allclose(published[name], whole[name])
        else:
            torch.testing.assert_close(published[name], whole[name])


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
