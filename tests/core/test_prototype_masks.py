"""Fast NMS, and masks that are mixed from prototypes and cut to their boxes."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torchvision.ops import box_iou

from mobileinst_core.prototype_masks import PrototypePostProcessing, fast_nms


def random_boxes(rng, count):
    corner, sides = rng.random((count, 2)), 0.05 + 0.3 * rng.random((count, 2))
    return np.concatenate((corner, corner + sides), axis=1).astype(np.float32)


def nms_by_definition(scores, boxes, threshold, candidates, max_detections):
    """Each class in full, in PyTorch."""
    found = []
    for k in range(scores.shape[1]):
        order = np.argsort(-scores[:, k], kind="stable")[:candidates]
        iou = box_iou(*[torch.from_numpy(boxes[order])] * 2).triu(1).numpy()
        kept = order[iou.max(0) <= threshold]
        found += [(-scores[i, k], i * scores.shape[1] + k) for i in kept]
    found.sort()
    return [pair for _, pair in found[:max_detections]]


@pytest.mark.parametrize("count", [1, 40, 400])
@pytest.mark.parametrize("max_detections", [5, 100])
def test_fast_nms_is_that_of_its_definition(count, max_detections):
    rng = np.random.default_rng(count)
    scores, boxes = rng.random((count, 6), dtype=np.float32), random_boxes(rng, count)
    kept = fast_nms(scores, boxes, threshold=0.3, candidates=50, max_detections=max_detections)
    expected = nms_by_definition(scores, boxes, 0.3, 50, max_detections)
    assert (kept.boxes * 6 + kept.classes).tolist() == expected
    np.testing.assert_array_equal(kept.scores, scores[kept.boxes, kept.classes])


def network_outputs(boxes, scores, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "scores": np.asarray(scores, np.float32),
        "boxes": np.asarray(boxes, np.float32),
        "coefficients": rng.standard_normal((len(boxes), 4)).astype(np.float32),
        "prototypes": rng.random((4, 12, 16), dtype=np.float32),
    }


def test_masks_are_cut_to_the_box_and_resized_once():
    boxes = [[0.1, 0.2, 0.62, 0.7], [0.5, 0.4, 1.3, 1.1]]
    outputs = network_outputs(boxes, np.eye(2) * 0.9)
    found = PrototypePostProcessing(max_detections=2).predict(**outputs, output_size=(60, 90))
    logits = torch.from_numpy(
        np.einsum("nd,dhw->nhw", outputs["coefficients"], outputs["prototypes"])
    )
    for i, (x0, y0, x1, y1) in enumerate(boxes):
        probs = torch.zeros(12, 16)
        for y in range(12):
            for x in range(16):
                inside = x0 * 16 - 1 <= x < x1 * 16 + 1 and y0 * 12 - 1 <= y < y1 * 12 + 1
                probs[y, x] = logits[i, y, x].sigmoid() if inside else 0
        full = F.interpolate(probs[None, None], size=(60, 90), mode="bilinear")[0, 0]
        clear = (full - 0.5).abs() > 1e-4
        assert (torch.from_numpy(found.masks[i]) == (full > 0.5))[clear].all()
    np.testing.assert_allclose(found.boxes, [[9, 12, 55.8, 42], [45, 24, 90, 60]], rtol=1e-5)
    assert found.classes.tolist() == [0, 1]


def test_boxes_outside_are_left_out_and_empty_masks_are_kept():
    # The public code gives the first a negative area.
    boxes = [[1.1, 0.2, 1.4, 0.5], [0.2, 0.2, 0.5, 0.5], [0.6, 0.6, 0.9, 0.9]]
    outputs = network_outputs(boxes, [[0.9], [0.8], [0.7]])
    outputs["coefficients"][1] = -10
    outputs["coefficients"][2] = 10
    found = PrototypePostProcessing().predict(**outputs, output_size=(40, 40))
    assert found.scores.tolist() == pytest.approx([0.8, 0.7])
    assert found.masks.any((1, 2)).tolist() == [False, True]
    assert (found.boxes[:, 2:] > found.boxes[:, :2]).all()


def test_thresholds_count():
    boxes = [[0.1 * i, 0.1, 0.1 * i + 0.08, 0.5] for i in range(6)]
    scores = np.stack((np.linspace(0.04, 0.9, 6), np.full(6, 0.01)), axis=1)
    outputs = network_outputs(boxes, scores)
    predict = lambda **options: PrototypePostProcessing(**options).predict(  # noqa: E731
        **outputs, output_size=(20, 20)
    )
    # The best class of a box decides whether it takes part; then its other classes do, too.
    assert sorted(predict().classes.tolist()) == [0] * 5 + [1] * 5
    assert len(predict(max_detections=3)) == 3
    assert len(predict(score_threshold=0.95)) == 0
    assert predict(score_threshold=0.95).masks.shape == (0, 20, 20)
    outputs["scores"][:] = np.nan
    assert len(predict()) == 0


def test_rescoring_by_mask_scores_changes_the_order():
    outputs = network_outputs([[0.0, 0.0, 0.4, 0.4], [0.5, 0.5, 1.0, 1.0]], [[0.9], [0.8]])
    outputs["coefficients"][0] = 0.05
    outputs["coefficients"][1] = 9
    plain = PrototypePostProcessing().predict(**outputs, output_size=(30, 30))
    found = PrototypePostProcessing(mask_rescore=True).predict(**outputs, output_size=(30, 30))
    assert found.scores[0] == pytest.approx(0.8, rel=0.05)
    assert found.scores[1] < 0.6
    np.testing.assert_array_equal(found.masks, plain.masks[::-1])
    np.testing.assert_array_equal(found.boxes, plain.boxes[::-1])
