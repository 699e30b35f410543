import pytest
import torch

from mobileinst_d2.modeling.losses import paired_dice, paired_iou, pairwise_dice


def test_dice_of_empty_masks_is_zero():
    nothing = torch.zeros(1, 9)
    assert pairwise_dice(nothing, nothing).item() == 0
    assert paired_dice(nothing, nothing).item() == 0


def test_iou_counts_a_probability_at_the_threshold_and_no_target_at_a_half():
    probs = torch.tensor([[0.4, 0.399, 0.9, 0.1, 0.4]])
    targets = torch.tensor([[1.0, 1.0, 0.5, 0.0, 0.51]])
    # predicted: 0, 2, 4; wanted: 0, 1, 4
    assert paired_iou(probs, targets, 0.4).item() == pytest.approx(2 / 4)


def test_iou_of_nothing_is_zero_and_has_no_gradient():
    probs = torch.zeros(1, 4, requires_grad=True)
    iou = paired_iou(probs, torch.zeros(1, 4), 0.4)
    assert iou.item() == 0
    assert not iou.requires_grad
