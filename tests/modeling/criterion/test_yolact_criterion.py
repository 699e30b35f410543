"""YOLACT's losses: those of the public code, and finite where it fails."""

import importlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mobileinst_d2.modeling.anchors import AnchorGrid, AnchorMatcher, encode_boxes
from mobileinst_d2.modeling.criterion import YOLACTCriterion
from mobileinst_d2.modeling.criterion.yolact import _class_loss
from mobileinst_d2.modeling.targets import BoxTargets

NAMES = {
    "grad_loc": "box_deltas",
    "grad_conf": "class_logits",
    "grad_mask": "coefficients",
    "grad_proto": "prototypes",
    "grad_segm": "semantic_logits",
}


def load_case(published, name):
    """Predictions and targets that a case is about."""
    rule = importlib.import_module("rule")
    meta, arrays = published.load(name)
    tag = meta["tag"]
    logits = rule.values(f"{tag}:conf", (2, 19248, 81), 1.0)
    logits[..., 0] += 5
    outputs = {
        "box_deltas": rule.values(f"{tag}:loc", (2, 19248, 4), 0.7),
        "class_logits": logits,
        "coefficients": np.tanh(rule.values(f"{tag}:mask", (2, 19248, 32), 0.7)),
        "prototypes": np.maximum(0, rule.smooth(f"{tag}:proto", (2, 32, 138, 138), 1.0, 16)),
        "semantic_logits": rule.smooth(f"{tag}:segm", (2, 80, 69, 69), 2.0, 16),
    }
    outputs = {k: torch.from_numpy(v).requires_grad_() for k, v in outputs.items()}
    outputs["anchors"] = AnchorGrid()([torch.zeros(1, 1, n, n) for n in (69, 35, 18, 9, 5)])
    targets = []
    for image, (count, crowds) in enumerate(zip(meta["counts"], meta["crowds"], strict=True)):
        objects = rule.targets(f"{tag}:image{image}", count, 550, 550)
        objects = {k: torch.from_numpy(v) for k, v in objects.items()}
        boxes, kept = objects["boxes"] / np.float32(550), slice(count - crowds)
        targets.append(
            BoxTargets(
                objects["labels"][kept],
                boxes[kept],
                objects["masks"][kept],
                boxes[count - crowds :],
            )
        )
    return meta, arrays, outputs, targets


def test_matching_losses_and_gradients_are_the_published_ones(published):
    meta, arrays, outputs, targets = load_case(published, "yolact_loss_1_5")
    for image, target in enumerate(targets):
        found = AnchorMatcher()(outputs["anchors"], target.boxes, target.labels, target.crowd_boxes)
        np.testing.assert_array_equal(found.classes, arrays[f"image{image}_conf_t"])
        np.testing.assert_array_equal(found.objects, arrays[f"image{image}_idx_t"])
        positive = found.classes > 0
        code = encode_boxes(target.boxes[found.objects[positive]], outputs["anchors"][positive])
        np.testing.assert_allclose(code, arrays[f"image{image}_loc_t_positive"], atol=1e-5)
    losses = YOLACTCriterion()(outputs, targets)
    expected = meta["losses"]["weighted"]
    for name, key in (("cls", "C"), ("box", "B"), ("mask", "M"), ("sem", "S")):
        assert losses[f"loss_{name}"].item() == pytest.approx(expected[key], rel=1e-5)
    sum(losses.values()).backward()
    for key, name in NAMES.items():
        gradient = outputs[name].grad
        if name == "prototypes":
            gradient = gradient.permute(0, 2, 3, 1)
        assert published.compare(meta, arrays, key, gradient.numpy())["max"] < 1e-6


def test_an_image_with_nothing_but_a_crowd_is_trained_on(published):
    # The public code raises an IndexError.
    meta, arrays, outputs, targets = load_case(published, "yolact_loss_crowd_only")
    first = AnchorMatcher()(
        outputs["anchors"], targets[0].boxes, targets[0].labels, targets[0].crowd_boxes
    )
    np.testing.assert_array_equal(first.classes, arrays["image0_conf_t"])
    losses = YOLACTCriterion()(outputs, targets)
    sum(losses.values()).backward()
    assert all(x.isfinite() for x in losses.values())
    assert outputs["class_logits"].grad[1].abs().sum() > 0
    assert "IndexError" in meta["exception"]


def small_outputs(batch=1, classes=3, size=(8, 8)):
    torch.manual_seed(0)
    anchors = AnchorGrid(sizes=[16], input_size=(64, 64))([torch.zeros(1, 1, *size)])
    count = len(anchors)
    outputs = {
        "class_logits": torch.randn(batch, count, classes + 1),
        "box_deltas": torch.randn(batch, count, 4),
        "coefficients": torch.randn(batch, count, 5),
        "prototypes": torch.rand(batch, 5, 16, 16),
        "semantic_logits": torch.randn(batch, classes, *size),
    }
    return {**{k: v.requires_grad_() for k, v in outputs.items()}, "anchors": anchors}


def full_targets(boxes, size=(64, 64)):
    boxes = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, box in zip(masks, boxes, strict=True):
        x0, y0, x1, y1 = (box * size[0]).int().tolist()
        mask[y0:y1, x0:x1] = True
    return BoxTargets(torch.arange(len(boxes)) % 3, boxes, masks, torch.zeros(0, 4))


def test_a_batch_without_objects_trains_the_classes_and_nothing_else():
    # The public code divides by the number of positives, 0.
    outputs = small_outputs(batch=2)
    losses = YOLACTCriterion()(outputs, [full_targets([]), full_targets([])])
    sum(losses.values()).backward()
    assert losses["loss_box"] == losses["loss_mask"] == 0
    assert losses["loss_cls"] > 0
    # Three negatives of each image, the hardest.
    assert (outputs["class_logits"].grad.abs().sum(2) > 0).sum(1).tolist() == [3, 3]
    for name in ("box_deltas", "coefficients", "prototypes"):
        assert outputs[name].grad.abs().sum() == 0


def test_more_positives_than_masks_are_trained_on_count_all_the_same():
    outputs = small_outputs(size=(16, 16))
    outputs["coefficients"].data[:] = outputs["coefficients"][:, :1].clone()
    # All positives say the same of the same object, so a share of them has the same mean.
    target = full_targets([[0.0, 0.0, 1.0, 1.0]])
    anchors = torch.tensor([[0.5, 0.5, 1.0, 1.0]]).repeat(len(outputs["anchors"]), 1)
    losses = YOLACTCriterion()({**outputs, "anchors": anchors}, [target])
    some = {k: v[:, :50] for k, v in outputs.items() if k in ("box_deltas", "coefficients")}
    some["class_logits"] = outputs["class_logits"][:, :50]
    fewer = YOLACTCriterion()({**outputs, **some, "anchors": anchors[:50]}, [target])
    assert losses["loss_mask"].item() == pytest.approx(fewer["loss_mask"].item(), rel=1e-4)


def test_masks_count_inside_their_boxes_only():
    outputs = small_outputs()
    target = full_targets([[0.25, 0.25, 0.75, 0.75]])
    YOLACTCriterion()(outputs, [target])["loss_mask"].backward()
    rows, columns = outputs["prototypes"].grad[0].abs().sum(0).nonzero().T
    # Pixels 4 to 11 of 16, and one more on each side.
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (3, 12, 3, 12)


def test_huge_values_in_half_precision_stay_finite():
    outputs = small_outputs()
    outputs = {k: v.detach().half() * 1000 if k != "anchors" else v for k, v in outputs.items()}
    target = full_targets([[0.25, 0.25, 0.75, 0.75], [0.0, 0.0, 0.3, 0.3]])
    losses = YOLACTCriterion()(outputs, [target])
    assert all(x.isfinite() for x in losses.values())


def test_where_there_are_few_negatives_neutral_anchors_do_not_take_their_place():
    logits = torch.randn(6, 4)
    classes = torch.tensor([-1, 2, 0, -1, 3, -1])
    positive = (classes > 0).nonzero()[:, 0]
    taught = torch.tensor([1, 2, 4])
    expected = F.cross_entropy(logits[taught], classes[taught], reduction="sum")
    torch.testing.assert_close(_class_loss(logits, classes, positive), expected)
