"""Images become the batches of one that PyTorch makes of them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mobileinst_core.runtime.fit import fit_image


@pytest.mark.parametrize("size", [(31, 90), (120, 33)])
def test_stretching_is_that_of_pytorch(size):
    image = np.random.default_rng(0).integers(0, 256, (3, 64, 47), dtype=np.uint8)
    expected = F.interpolate(torch.from_numpy(image)[None].float(), size=size, mode="bilinear")
    found = fit_image(image, size, pad_value=(0, 0, 0), stretch=True)
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)
    assert found.dtype == np.float32
