import numpy as np
import pytest
import torch
from detectron2.structures import Instances, PolygonMasks
from model_inputs import make_instances
from naive_resize import naive_resize

from mobileinst_d2.modeling.targets import prepare_targets


def prepare(instances, padded_size=(64, 128), mask_size=(16, 32)):
    (target,) = prepare_targets([instances], padded_size, mask_size, torch.device("cpu"))
    return target


def test_masks_are_padded_to_the_input_and_resized_bilinearly():
    instances = make_instances((50, 101), [(3, 5, 41, 77), (20, 60, 50, 101)], [2, 0])
    target = prepare(instances)
    padded = np.zeros((2, 64, 128))
    padded[0, 3:41, 5:77] = 1
    padded[1, 20:50, 60:101] = 1
    expected = np.stack([naive_resize(mask, (16, 32)) for mask in padded])
    assert target.masks.dtype == torch.float32
    np.testing.assert_allclose(target.masks.numpy(), expected, atol=1e-6)
    assert target.labels.tolist() == [2, 0]
    assert target.rows.tolist() == [0, 1]


def test_objects_that_a_frame_does_not_show_are_left_out_but_rows_keep_their_numbers():
    instances = make_instances((64, 128), [None, (0, 0, 8, 8), None, (8, 8, 40, 40)], [0, 1, 2, 3])
    target = prepare(instances)
    assert target.rows.tolist() == [1, 3]
    assert target.labels.tolist() == [1, 3]
    assert target.masks.sum(dim=(1, 2)).tolist() == pytest.approx([8 * 8 / 16, 32 * 32 / 16])


@pytest.mark.parametrize("boxes", [[], [None, None]])
def test_a_frame_may_show_nothing(boxes):
    target = prepare(make_instances((64, 128), boxes))
    assert target.masks.shape == (0, 16, 32)
    assert target.labels.dtype == target.rows.dtype == torch.int64
    assert len(target.labels) == 0


def test_an_empty_frame_needs_no_masks():
    instances = Instances((64, 128), gt_classes=torch.zeros(0, dtype=torch.int64))
    assert prepare(instances).masks.shape == (0, 16, 32)


def test_polygons_and_plain_tensors_are_masks_too():
    expected = prepare(make_instances((64, 128), [(8, 16, 40, 96)]))
    polygons = make_instances((64, 128), [(8, 16, 40, 96)])
    polygons.gt_masks = PolygonMasks([[np.array([16, 8, 96, 8, 96, 40, 16, 40], dtype=float)]])
    tensor = make_instances((64, 128), [(8, 16, 40, 96)])
    tensor.gt_masks = tensor.gt_masks.tensor
    assert torch.equal(prepare(tensor).masks, expected.masks)
    assert (prepare(polygons).masks - expected.masks).abs().mean() < 0.02
