"""SparseInst as a network of this project: it trains, predicts, tracks and gives graphs."""

import pytest
import torch
from model_inputs import check_training_step, image_input
from small_sparseinst import NODE, build_lively_sparseinst
from small_sparseinst import build_small_sparseinst as build

from mobileinst_d2.modeling import SparseInst

LOSSES = {"loss_cls", "loss_dice", "loss_mask", "loss_obj"}


@pytest.fixture(scope="module")
def lively() -> SparseInst:
    """A model whose queries differ, in evaluation mode. Not to be changed."""
    return build_lively_sparseinst()


@pytest.mark.parametrize(("groups", "activation"), [(1, "softmax"), (8, "sigmoid")])
def test_every_variant_trains_every_parameter(groups, activation):
    options = {f"{NODE}GROUPS": groups, f"{NODE}ACTIVATION": activation}
    model = build(**options)
    check_training_step(model, [image_input(objects=3)], LOSSES)


def test_the_threshold_is_on_the_score_with_objectness_before_rescoring(lively):
    """The public evaluation script compares the class probability alone."""
    outputs = {
        # 0.001 and an objectness of 0.5 give 0.022; 0.00002 gives 0.003.
        "scores": torch.tensor([[[0.001], [0.00002]]]).mul(0.5).sqrt(),
        "mask_logits": torch.full((1, 2, 8, 8), 4.0),
    }
    (instances,) = lively.inference(outputs, [((64, 64), (64, 64))])
    assert len(instances) == 1
    maskness = torch.tensor(4.0).sigmoid()
    torch.testing.assert_close(instances.scores, torch.tensor([0.0005]).sqrt() * maskness)
