"""FastInst and the light Mask2Former in the runtimes of phones."""

import numpy as np
import pytest
import torch
from small_fastinst import LIGHT, NODE, SMALL, build_lively_fastinst
from tiny_models import noise_image, tiny_config

from mobileinst_core.runtime.model import ExportedModel
from mobileinst_d2.export import export_model

# At stride 32 there are 3x5 positions, which the bins of the pyramid do not divide.
SIZE = (96, 160)


@pytest.mark.parametrize(
    ("runtime", "options"),
    [("onnx", {f"{NODE}NUM_LAYERS": 1}), ("ncnn", LIGHT)],
    ids=["fastinst onnx", "light mask2former ncnn"],
)
def test_an_exported_model_gives_pytorchs_results(tmp_path, runtime, options):
    # TopFormer itself is exported with SparseInst.
    options = {**options, "INPUT__FIXED_SIZE_TEST": SIZE}
    network = build_lively_fastinst(**options)
    folder = tmp_path / "exported"
    export_model(network, tiny_config(**SMALL | options), SIZE, runtime, folder)
    model = ExportedModel.load(folder)
    image = noise_image(90, 160)
    with torch.no_grad():
        (result,) = network([{"image": image, "height": 120, "width": 200}])
        features = network.reuse([image])
    np.testing.assert_allclose(
        model.reuse([image]), features, atol=1e-4 * float(features.abs().max()), rtol=0
    )
    expected = result["instances"]
    found = model.predict_prepared(image.numpy(), (120, 200))
    assert len(found.scores) == len(expected) > 0
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4, rtol=0)
    assert found.classes.tolist() == expected.pred_classes.tolist()
    different = np.asarray(found.masks) != expected.pred_masks.numpy()
    assert different.mean() < 1e-4
