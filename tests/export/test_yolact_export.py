"""YOLACT in other runtimes: the same results, images stretched, boxes suppressed outside."""

import json

import numpy as np
import pytest
import torch
from tiny_yolact import build_lively_yolact, tiny_yolact_config

from mobileinst_core.runtime.model import ExportedModel as CoreModel
from mobileinst_core.runtime.runners import ExportError
from mobileinst_d2.engine.predictor import Predictor
from mobileinst_d2.export import ExportedModel, export_model
from mobileinst_d2.export.model import read_config

# No side is a multiple of a stride.
SIZE = (70, 90)


@pytest.fixture(scope="module")
def model():
    return build_lively_yolact()


@pytest.fixture(scope="module", params=["onnx", "ncnn"])
def folder(request, model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("yolact") / request.param
    export_model(model, tiny_yolact_config(), SIZE, request.param, folder)
    return folder


def smooth_image(height, width):
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (5 + k)) + np.cos(y / (9 - k)) for k in range(3)]
    return (127 + 60 * np.stack(waves, axis=2)).astype(np.uint8)


def test_an_exported_folder_gives_the_results_of_pytorch(model, folder):
    predictor, exported = Predictor(tiny_yolact_config(), model), CoreModel.load(folder)
    for size in ((50, 120), (140, 100)):
        image = smooth_image(*size)
        expected, found = predictor.predict(image), exported.predict(image)
        assert len(found) == len(expected) > 20
        np.testing.assert_allclose(found.scores, expected.scores, atol=1e-4)
        # Nearly equal scores change places, and one at the end may stand for another.
        distance = np.abs(found.boxes[:, None] - expected.boxes).max(2)
        distance[found.classes[:, None] != expected.classes] = np.inf
        partners, close = distance.argmin(1), distance.min(1) < 0.05
        assert close.sum() >= len(found) - 1
        assert len(set(partners[close])) >= len(found) - 1
        masks = expected.masks[partners[close]]
        assert (found.masks[close] == masks).mean() > 0.9999


def test_the_folder_says_what_it_needs(model, folder):
    content = json.loads((folder / "model.json").read_text())
    assert content["input"]["fit"] == "stretch"
    assert content["thresholds"]["nms"] == {"threshold": 0.5}
    assert set(content["graphs"]["image"]["outputs"]) == {
        *("scores", "boxes", "coefficients", "prototypes")
    }
    none = CoreModel.load(folder, opts=["TEST.SCORE_THRESHOLD", "1.0"])
    assert len(none.predict(smooth_image(50, 120))) == 0
    with pytest.raises(ExportError, match=r"without the graph 'keyframe'.*cannot track"):
        none.online_tracker()


def test_the_folders_config_makes_the_same_model(model, folder):
    cfg = read_config(folder)
    assert tuple(cfg.INPUT.FIXED_SIZE_TEST) == ()
    image = smooth_image(50, 120)
    record = {"image": torch.from_numpy(image[:, :, ::-1].transpose(2, 0, 1).copy())}
    found = ExportedModel(cfg, folder)([record])[0]["instances"]
    expected = CoreModel.load(folder).predict(image)
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.image_size == (50, 120)


def test_another_size_than_that_of_the_training_is_warned_of(model, caplog):
    model.export_graphs(SIZE)
    assert not caplog.records
    model.export_graphs((96, 64))
    assert "96x64 pixels, but the network is made for MODEL.YOLACT.INPUT_SIZE 70x90" in caplog.text
