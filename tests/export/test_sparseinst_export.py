"""SparseInst in the runtimes of phones, at sizes that the pooling does not divide."""

import numpy as np
import pytest
import torch
from small_sparseinst import SMALL, build_lively_sparseinst
from tiny_models import noise_image, tiny_config
from torch import nn

from mobileinst_d2.export import RUNNERS, ExportedModel, export_model, export_module
from mobileinst_d2.modeling.layers import DeformableConv2d

# At stride 32 there are 3x5 positions: TopFormer pools them to 2x3, the pyramid to 2, 3 and 6 bins.
SIZE = (96, 160)


@pytest.mark.parametrize(
    ("runtime", "activation", "backbone"),
    [("onnx", "softmax", {}), ("ncnn", "sigmoid", {"MODEL__BACKBONE__NAME": "TopFormer"})],
)
def test_an_exported_model_gives_what_pytorch_gives(tmp_path, runtime, activation, backbone):
    options = {
        **backbone,
        "MODEL__SPARSEINST__ACTIVATION": activation,
        "INPUT__FIXED_SIZE_TEST": SIZE,
    }
    network = build_lively_sparseinst(**options)
    folder = tmp_path / "exported"
    export_model(network, tiny_config(**SMALL | options), SIZE, runtime, folder)
    model = ExportedModel.load(folder)
    images = [noise_image(90, 160, seed) for seed in range(2)]
    with torch.no_grad():
        expected = network.keyframe(images)
        features = network.reuse(images)
        instances = network([{"image": images[0], "height": 120, "width": 200}])[0]["instances"]
    for name, array in model.keyframe(images).items():
        np.testing.assert_allclose(
            array, expected[name], atol=1e-4 * float(expected[name].abs().max()), rtol=0
        )
    np.testing.assert_allclose(
        model.reuse(images), features, atol=1e-4 * float(features.abs().max()), rtol=0
    )
    found = model([{"image": images[0], "height": 120, "width": 200}])[0]["instances"]
    assert len(found) == len(instances) > 0
    torch.testing.assert_close(found.scores, instances.scores, atol=1e-3, rtol=0)


def test_deformable_convolutions_run_in_onnx_runtime(tmp_path):
    conv = nn.Conv2d(8, 8, 3, stride=2, padding=1)
    layer = DeformableConv2d(conv).eval()
    nn.init.normal_(layer.offset.weight, std=0.1)
    x = torch.randn(1, 8, 16, 20)
    graph = export_module("onnx", layer, x, tmp_path / "x.onnx", ["image"], ["y"])
    found = RUNNERS["onnx"](tmp_path, graph)(x.numpy())["y"]
    np.testing.assert_allclose(found, layer(x).detach(), atol=1e-5)
