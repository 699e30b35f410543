"""The other systems in the runtimes of phones, at sizes that the pooling does not divide."""

import numpy as np
import pytest
import torch
from small_fastinst import LIGHT, NODE, build_lively_fastinst
from small_fastinst import SMALL as FASTINST
from small_sparseinst import SMALL as SPARSEINST
from small_sparseinst import build_lively_sparseinst
from tiny_models import noise_image, tiny_config
from torch import nn

from mobileinst_d2.export import RUNNERS, ExportedModel, export_model, export_module
from mobileinst_d2.modeling.layers import DeformableConv2d

# At stride 32 there are 3x5 positions: TopFormer pools them to 2x3, the pyramid to 2, 3 and 6 bins.
SIZE = (96, 160)
SOFTMAX = {"MODEL__SPARSEINST__ACTIVATION": "softmax"}
TOPFORMER = {"MODEL__BACKBONE__NAME": "TopFormer"}


@pytest.mark.parametrize(
    ("runtime", "build", "config", "options"),
    [
        ("onnx", build_lively_sparseinst, SPARSEINST, SOFTMAX),
        ("ncnn", build_lively_sparseinst, SPARSEINST, TOPFORMER),
        ("onnx", build_lively_fastinst, FASTINST, {f"{NODE}NUM_LAYERS": 1}),
        ("ncnn", build_lively_fastinst, FASTINST, LIGHT),
    ],
    ids=["sparseinst onnx", "sparseinst ncnn", "fastinst onnx", "light mask2former ncnn"],
)
def test_an_exported_model_gives_what_pytorch_gives(tmp_path, runtime, build, config, options):
    options = {**options, "INPUT__FIXED_SIZE_TEST": SIZE}
    network, folder = build(**options), tmp_path / "exported"
    export_model(network, tiny_config(**config | options), SIZE, runtime, folder)
    model = ExportedModel.load(folder)
    images = [noise_image(90, 160, seed) for seed in range(2)]
    item = {"image": images[0], "height": 120, "width": 200}
    with torch.no_grad():
        features = network.reuse(images)
        expected = network([item])[0]["instances"]
        outputs = network.keyframe(images)
    np.testing.assert_allclose(
        model.reuse(images), features, atol=1e-4 * float(features.abs().max()), rtol=0
    )
    # Of FastInst, queries of nearly equal rank may change places.
    for name, array in model.keyframe(images).items() if config is SPARSEINST else ():
        largest = float(outputs[name].abs().max())
        np.testing.assert_allclose(array, outputs[name], atol=1e-4 * largest, rtol=0)
    found = model([item])[0]["instances"]
    assert len(found) == len(expected) > 0
    torch.testing.assert_close(found.scores, expected.scores, atol=1e-4, rtol=0)
    assert found.pred_classes.tolist() == expected.pred_classes.tolist()
    assert (found.pred_masks != expected.pred_masks).float().mean() < 1e-4


def test_deformable_convolutions_run_in_onnx_runtime(tmp_path):
    conv = nn.Conv2d(8, 8, 3, stride=2, padding=1)
    layer = DeformableConv2d(conv).eval()
    nn.init.normal_(layer.offset.weight, std=0.1)
    x = torch.randn(1, 8, 16, 20)
    graph = export_module("onnx", layer, x, tmp_path / "x.onnx", ["image"], ["y"])
    found = RUNNERS["onnx"](tmp_path, graph)(x.numpy())["y"]
    np.testing.assert_allclose(found, layer(x).detach(), atol=1e-5)
