import numpy as np
import pytest
import torch
from tiny_models import tiny_config

from mobileinst_core.detections import Detections
from mobileinst_core.masks.rle import encode_mask
from mobileinst_core.postprocessing import PostProcessing
from mobileinst_d2.modeling.postprocessing import build_postprocessing, predict_instances
from mobileinst_d2.structures import to_instances


def test_the_thresholds_are_those_of_the_config():
    cfg = tiny_config(
        TEST__SCORE_THRESHOLD=0.1,
        TEST__MASK_THRESHOLD=0.4,
        TEST__MASK_RESCORE=False,
        TEST__DETECTIONS_PER_IMAGE=12,
    )
    assert build_postprocessing(cfg) == PostProcessing(
        score_threshold=0.1, mask_threshold=0.4, mask_rescore=False, max_detections=12
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_outputs_of_a_network_become_instances(dtype):
    scores = torch.rand(20, 3).to(dtype).requires_grad_()
    logits = (torch.nn.functional.avg_pool2d(torch.randn(20, 16, 16), 5, 1, 2) * 20).to(dtype)
    postprocessing = PostProcessing(score_threshold=0.3, max_detections=10)
    options = {
        "image_size": (60, 50),
        "output_size": (90, 75),
        "mask_stride": 4,
        "mask_upsampling": 2,
    }
    instances = predict_instances(postprocessing, scores, logits, **options)
    arrays = (x.detach().float().numpy() for x in (scores, logits))
    expected = postprocessing.predict(*arrays, **options)
    assert len(instances) == len(expected) == 10
    assert instances.image_size == (90, 75)
    assert np.array_equal(instances.pred_masks, expected.masks)
    assert np.array_equal(instances.pred_boxes.tensor, expected.boxes)
    assert np.array_equal(instances.scores, expected.scores)
    assert np.array_equal(instances.pred_classes, expected.classes)
    assert instances.pred_masks.dtype == torch.bool
    assert instances.pred_classes.dtype == torch.int64
    assert not instances.has("ID")


@pytest.mark.parametrize("procedure", ["sparseinst", "mask2former"])
@pytest.mark.parametrize("output_size", [(90, 75), (60, 50), (23, 31)])
def test_encoded_masks_are_those_that_would_be_made(procedure, output_size):
    scores = torch.rand(20, 3)
    logits = torch.nn.functional.avg_pool2d(torch.randn(20, 16, 16), 5, 1, 2) * 20
    postprocessing = PostProcessing(score_threshold=0.3, max_detections=15, procedure=procedure)
    options = {"image_size": (60, 50), "output_size": output_size, "mask_stride": 4}
    expected = predict_instances(postprocessing, scores, logits, **options)
    found = predict_instances(postprocessing, scores, logits, **options, encode=True)
    assert len(expected) > 5
    assert found.image_size == expected.image_size
    assert not found.has("pred_masks")
    assert found.pred_rles == [encode_mask(mask.numpy()) for mask in expected.pred_masks]
    for name in ("scores", "pred_classes"):
        assert torch.equal(found.get(name), expected.get(name))
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)


def test_identities_become_lists():
    detections = Detections(
        masks=np.ones((2, 5, 6), bool),
        boxes=np.zeros((2, 4), np.float32),
        scores=np.ones(2, np.float32),
        classes=np.array([0, 3]),
        ids=np.array([4, 2]),
        periods=np.array([1, 7]),
    )
    instances = to_instances(detections)
    assert (instances.ID, instances.ID_period) == ([4, 2], [1, 7])
    assert instances.lost_frame_count == [0, 0]
    assert to_instances(detections[:0]).ID == []
