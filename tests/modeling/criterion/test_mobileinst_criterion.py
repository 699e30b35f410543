import numpy as np
import pytest
import torch
from criterion_inputs import (
    CLASSES,
    QUERIES,
    SIZE,
    FixedMatcher,
    average_over_processes,
    make_outputs,
    make_targets,
)
from tiny_models import tiny_config

from mobileinst_d2.modeling.criterion import MobileInstCriterion, PassedOutputs
from mobileinst_d2.modeling.layers import bilinear_resize


def make_criterion(
    *matches, passing_match="shared", passing_weight=1.0, **options
) -> MobileInstCriterion:
    """Weights of 1 and a fixed assignment."""
    weights = ("class_weight", "dice_weight", "mask_weight", "objectness_weight")
    return MobileInstCriterion(
        matcher=FixedMatcher(*matches),
        passing_match=passing_match,
        passing_weight=passing_weight,
        **(dict.fromkeys(weights, 1.0) | options),
    )


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def bce(logits, targets):
    p = sigmoid(logits)
    return -(targets * np.log(p) + (1 - targets) * np.log(1 - p))


def as_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().numpy()


def naive_mask_losses(mask_logits, targets, matches, num_objects):
    """Dice: sum over matches, over the number of objects. Pixels: mean over matches and pixels."""
    dice, pixels = 0.0, []
    for logits, target, (queries, objects) in zip(mask_logits, targets, matches, strict=True):
        for q, o in zip(queries, objects, strict=True):
            x, t = as_numpy(logits[q]), as_numpy(target.masks[o])
            p = sigmoid(x)
            dice += 1 - 2 * (p * t).sum() / ((p**2).sum() + (t**2).sum() + 1e-4)
            pixels.append(bce(x, t).mean())
    return dice / num_objects, np.mean(pixels)


MATCHES = [([3, 0], [1, 0]), ([2], [0])]


@pytest.mark.parametrize(
    ("alpha", "gamma", "threshold"), [(0.25, 2.0, 0.4), (0.6, 0.0, 0.7)], ids=["default", "other"]
)
def test_every_loss_equals_its_formula_with_its_normaliser(alpha, gamma, threshold):
    # The second image has two objects, of which one is not matched: it counts all the same.
    targets, outputs = make_targets(2, 2), make_outputs(2)
    options = {"focal_alpha": alpha, "focal_gamma": gamma, "objectness_mask_threshold": threshold}
    losses = make_criterion(*MATCHES, **options)(outputs, targets)
    num_objects = 4

    p = sigmoid(as_numpy(outputs["class_logits"]))
    wanted = np.zeros_like(p)
    for image, (queries, objects) in enumerate(MATCHES):
        for q, o in zip(queries, objects, strict=True):
            wanted[image, q, targets[image].labels[o]] = 1
    right = np.where(wanted == 1, p, 1 - p)
    focal = np.where(wanted == 1, alpha, 1 - alpha) * (1 - right) ** gamma * -np.log(right)
    assert losses["loss_cls"].item() == pytest.approx(focal.sum() / num_objects, rel=1e-5)

    dice, pixels = naive_mask_losses(outputs["mask_logits"], targets, MATCHES, num_objects)
    assert losses["loss_dice"].item() == pytest.approx(dice, rel=1e-5)
    assert losses["loss_mask"].item() == pytest.approx(pixels, rel=1e-5)

    objectness = []
    for image, (queries, objects) in enumerate(MATCHES):
        for q, o in zip(queries, objects, strict=True):
            predicted = sigmoid(as_numpy(outputs["mask_logits"][image, q])) >= threshold
            mask = as_numpy(targets[image].masks[o]) > 0.5
            iou = (predicted & mask).sum() / (predicted | mask).sum()
            objectness.append(bce(as_numpy(outputs["objectness_logits"][image, q]), iou))
    assert losses["loss_obj"].item() == pytest.approx(np.mean(objectness), rel=1e-5)


def test_the_default_weights_are_the_papers():
    targets, outputs = make_targets(2, 1), make_outputs(2)
    plain = make_criterion(*MATCHES)(outputs, targets)
    criterion = MobileInstCriterion(tiny_config())
    criterion.matcher = FixedMatcher(*MATCHES)
    losses = criterion(outputs, targets)
    for name, weight in {"loss_cls": 2, "loss_dice": 2, "loss_mask": 2, "loss_obj": 1}.items():
        torch.testing.assert_close(losses[name], weight * plain[name])


@pytest.mark.parametrize(("power", "query"), [(0.2, 0), (0.8, 1)])
def test_the_class_power_weighs_the_class_against_the_mask(power, query):
    (target,) = make_targets(1)
    right = 16 * target.masks - 8
    half = right.clone()
    half[:, : SIZE[0] // 2] = -8
    masks = torch.cat([right, half])[None]
    assert 0 < (half > 0).sum() < (right > 0).sum()
    classes = torch.full((1, 2, CLASSES), -1.0)
    classes[0, 1, target.labels] = 3.0
    cfg = tiny_config()
    cfg.MODEL.MOBILEINST.LOSS.MATCHER_CLASS_POWER = power
    ((queries, _),) = MobileInstCriterion(cfg).matcher(classes, masks, [target])
    assert queries.tolist() == [query]


@pytest.mark.parametrize("match", ["shared", "identity"])
@pytest.mark.parametrize("counts", [(2, 1), (4, 0), (1, 0), (0, 0)])
def test_processes_average_to_the_losses_and_gradients_of_one(monkeypatch, counts, match):
    # Clips of two frames. Of four objects one finds no query.
    clips = [make_targets(count, count) for count in counts]
    matches = [([0, 1, 2][:count], [2, 1, 0][-count:] if count else []) for count in counts]
    outputs = make_outputs(4)
    classes, masks = torch.randn(2, QUERIES, CLASSES), torch.randn(2, QUERIES, *SIZE)
    masks.requires_grad_()

    def losses(first, count):
        """Of some of the clips."""
        chosen = slice(first, first + count)
        passed = PassedOutputs(
            classes[chosen],
            masks[chosen],
            [2 * i for i in range(count)],
            [2 * i + 1 for i in range(count)],
        )
        criterion = make_criterion(
            *(m for m in matches[chosen] for _ in range(2)), passing_match=match
        )
        frames = {name: x[2 * first : 2 * (first + count)] for name, x in outputs.items()}
        return criterion(frames, [frame for clip in clips[chosen] for frame in clip], passed)

    leaves = [*outputs.values(), masks]
    expected = losses(0, 2)
    average = average_over_processes(monkeypatch, [lambda: losses(0, 1), lambda: losses(1, 1)])
    for name, value in expected.items():
        torch.testing.assert_close(average[name], value, msg=name)
    torch.testing.assert_close(
        torch.autograd.grad(sum(average.values()), leaves),
        torch.autograd.grad(sum(expected.values()), leaves),
    )


@pytest.mark.parametrize("counts", [(2, 1), (3, 0), (0, 0)])
def test_masks_that_are_upsampled_after_the_choice_give_the_same_losses(counts):
    criterion = MobileInstCriterion(tiny_config())
    targets, outputs = make_targets(*counts), make_outputs(2)
    small = torch.randn(2, QUERIES, SIZE[0] // 2, SIZE[1] // 2, requires_grad=True)
    results = []
    for masks in (small, bilinear_resize(small, SIZE)):
        passed = PassedOutputs(outputs["class_logits"][:1], masks[1:], [0], [1])
        losses = criterion({**outputs, "mask_logits": masks}, targets, passed)
        leaves = [small, outputs["class_logits"], outputs["objectness_logits"]]
        results.append((losses, torch.autograd.grad(sum(losses.values()), leaves)))
    torch.testing.assert_close(*results, rtol=1e-6, atol=1e-7)


def test_the_mask_gets_no_gradient_from_the_objectness_target():
    outputs = make_outputs(1)
    losses = make_criterion(([1], [0]))(outputs, make_targets(1))
    losses["loss_obj"].backward()
    gradient = outputs["mask_logits"].grad
    assert gradient is None or gradient.abs().max() == 0


def test_passed_queries_have_weighted_mask_losses_and_no_class_loss():
    matches, targets, outputs = [([0, 3], [0, 1])] * 2, make_targets(2, 2), make_outputs(2)
    masks = torch.randn(1, QUERIES, *SIZE)
    classes = torch.randn(1, QUERIES, CLASSES, requires_grad=True)
    passed = PassedOutputs(classes, masks, [0], [1])
    full, half = (
        make_criterion(*matches, passing_weight=weight)(outputs, targets, passed)
        for weight in (1.0, 0.5)
    )
    assert full.keys() - {"loss_cls", "loss_dice", "loss_mask", "loss_obj"} == {
        *("loss_passed_dice", "loss_passed_mask")
    }
    for name, value in full.items():
        torch.testing.assert_close(half[name], value / 2 if "passed" in name else value)
    sum(full.values()).backward()
    assert classes.grad is None


@pytest.mark.parametrize("name", ["class_logits", "objectness_logits", "mask_logits"])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("objects", [0, 1])
def test_outputs_that_are_no_numbers_make_a_loss_that_is_none(name, bad, objects):
    outputs = make_outputs(1)
    with torch.no_grad():
        outputs[name].fill_(bad)
    matched = list(range(objects))
    losses = make_criterion((matched, matched))(outputs, make_targets(objects))
    assert not all(value.isfinite() for value in losses.values())
