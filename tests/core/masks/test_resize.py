import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mobileinst_core.masks.resize import bilinear_resize, resize_rows, sigmoid


@pytest.mark.parametrize("length", [1, 2, 7, 101, 160])
@pytest.mark.parametrize("new_length", [1, 5, 37, 160, 203, 1281])
def test_the_matrix_of_an_axis_is_that_of_pytorch(length, new_length):
    eye = torch.eye(length)
    expected = F.interpolate(eye[None, None], size=(new_length, length), mode="bilinear")[0, 0]
    assert np.array_equal(resize_rows(eye.numpy(), new_length), expected.numpy())


def test_what_is_no_number_spreads_as_in_pytorch():
    x = torch.randn(5, 7)
    x[2, 3] = float("nan")
    expected = F.interpolate(x[None, None], size=(10, 14), mode="bilinear")[0, 0].isnan()
    assert np.array_equal(np.isnan(bilinear_resize(x.numpy(), (10, 14))), expected.numpy())


def test_the_sigmoid_has_its_limits():
    x = torch.tensor([-500.0, -20.0, -1.0, 0.0, 1.0, 20.0, 500.0, float("inf"), float("-inf")])
    np.testing.assert_allclose(sigmoid(x.numpy()), x.sigmoid().numpy(), rtol=1e-6)
    assert np.isnan(sigmoid(np.array([np.nan], np.float32)))
