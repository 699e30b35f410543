"""Networks of timm in the runtimes of phones."""

import copy

import numpy as np
import pytest
import torch
from random_weights import randomise
from small_repvit import SMALL_REPVIT
from torch import nn

from mobileinst_d2.export import RUNNERS, export_module
from mobileinst_d2.modeling import TimmBackbone


class Features(nn.Module):
    """The maps of a backbone, as graphs give them."""

    def __init__(self, backbone):
        super().__init__()
        self.backbone = backbone

    def forward(self, image):
        return tuple(self.backbone(image).values())


@pytest.mark.parametrize(
    ("name", "file"),
    [
        (SMALL_REPVIT, "x.onnx"),
        (SMALL_REPVIT, "x.ncnn.param"),
        ("mobilenetv4_conv_small", "x.ncnn.param"),
    ],
)
def test_features_equal_pytorchs(tmp_path, name, file):
    runtime = file.split(".")[1]
    backbone = randomise(TimmBackbone(name=name)).eval()
    merged = copy.deepcopy(backbone)
    merged.reparameterize()
    image = torch.randn(1, 3, 64, 128)
    with torch.no_grad():
        expected = backbone(image)
    module = Features(merged).eval()
    graph = export_module(
        runtime, module, torch.zeros_like(image), tmp_path / file, ["image"], [*expected]
    )
    found = RUNNERS[runtime](tmp_path, graph)(image.numpy())
    assert list(found) == ["x3", "x4", "x5", "x6"]
    for output, array in found.items():
        tensor = expected[output]
        np.testing.assert_allclose(array, tensor, atol=1e-4 * float(tensor.abs().max()), rtol=0)
