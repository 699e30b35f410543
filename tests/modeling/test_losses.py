import numpy as np
import pytest
import torch

from mobileinst_d2.modeling.losses import (
    dice_loss,
    focal_loss,
    mask_bce_loss,
    paired_dice,
    paired_iou,
    pairwise_dice,
)


def naive_dice(p: np.ndarray, t: np.ndarray) -> float:
    return 2 * (p * t).sum() / ((p**2).sum() + (t**2).sum() + 1e-4)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_dice_of_every_prediction_with_every_target():
    probs, targets = torch.rand(3, 20), torch.rand(4, 20)
    expected = [[naive_dice(p, t) for t in targets.numpy()] for p in probs.numpy()]
    torch.testing.assert_close(pairwise_dice(probs, targets), torch.tensor(expected))


def test_dice_of_pairs_is_the_diagonal():
    probs, targets = torch.rand(5, 20), torch.rand(5, 20)
    expected = pairwise_dice(probs, targets).diagonal()
    torch.testing.assert_close(paired_dice(probs, targets), expected)


def test_dice_of_empty_masks_is_zero():
    nothing = torch.zeros(1, 9)
    assert pairwise_dice(nothing, nothing).item() == 0
    assert paired_dice(nothing, nothing).item() == 0


def test_dice_loss_is_a_sum_over_pairs_over_the_normaliser():
    logits, targets = torch.randn(3, 30) * 3, torch.rand(3, 30)
    pairs = zip(sigmoid(logits.numpy()), targets.numpy(), strict=True)
    expected = sum(1 - naive_dice(p, t) for p, t in pairs) / 7
    assert dice_loss(logits, targets, 7).item() == pytest.approx(expected, rel=1e-5)


def test_mask_loss_is_a_sum_over_pairs_of_means_over_pixels_over_the_normaliser():
    logits, targets = torch.randn(3, 30) * 3, torch.rand(3, 30)
    p, t = sigmoid(logits.double().numpy()), targets.double().numpy()
    expected = -(t * np.log(p) + (1 - t) * np.log(1 - p)).mean(axis=1).sum() / 7
    assert mask_bce_loss(logits, targets, 7).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.6, 1.0), (0.5, 0.0)])
def test_focal_loss_is_a_sum_over_everything_over_the_normaliser(alpha, gamma):
    logits = torch.randn(2, 3, 4) * 2
    targets = (torch.rand(2, 3, 4) > 0.7).float()
    p, t = sigmoid(logits.double().numpy()), targets.double().numpy()
    right = np.where(t == 1, p, 1 - p)
    weight = np.where(t == 1, alpha, 1 - alpha)
    expected = -(weight * (1 - right) ** gamma * np.log(right)).sum() / 5
    loss = focal_loss(logits, targets, 5, alpha=alpha, gamma=gamma)
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_iou_counts_a_probability_at_the_threshold_and_no_target_at_a_half():
    probs = torch.tensor([[0.4, 0.399, 0.9, 0.1, 0.4]])
    targets = torch.tensor([[1.0, 1.0, 0.5, 0.0, 0.51]])
    # predicted: 0, 2, 4; wanted: 0, 1, 4
    assert paired_iou(probs, targets, 0.4).item() == pytest.approx(2 / 4)


def test_iou_equals_a_count_over_pixels():
    probs, targets = torch.rand(6, 50), torch.rand(6, 50)
    expected = []
    for p, t in zip(probs.tolist(), targets.tolist(), strict=True):
        pairs = [(a >= 0.4, b > 0.5) for a, b in zip(p, t, strict=True)]
        expected.append(sum(a and b for a, b in pairs) / sum(a or b for a, b in pairs))
    assert paired_iou(probs, targets, 0.4).tolist() == pytest.approx(expected, rel=1e-5)


def test_iou_of_nothing_is_zero_and_has_no_gradient():
    probs = torch.zeros(1, 4, requires_grad=True)
    iou = paired_iou(probs, torch.zeros(1, 4), 0.4)
    assert iou.item() == 0
    assert not iou.requires_grad
