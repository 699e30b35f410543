"""An exported folder in place of a model of Detectron2, and a runtime that crashes."""

import copy
import json
import pickle

import numpy as np
import pytest
from small_network import SIZE, small_config

from mobileinst_core.runtime.model import ExportedModel as CoreModel
from mobileinst_d2.export import ExportedModel, ExportError, guard
from mobileinst_d2.export.model import read_config


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"ncnn with .* crashed"),
        ("print('out of luck'); raise SystemExit(3)", r"(?s)exit status 3\).*out of luck"),
        ("import time; time.sleep(60)", "did not end within 0.2 seconds"),
    ],
)
def test_a_runtime_that_crashes_does_not_end_the_export(exported, monkeypatch, code, message):
    folder = exported("ncnn")
    monkeypatch.setattr(guard, "_CODE", code)
    graph = json.loads((folder / "model.json").read_text())["graphs"]["reuse"]
    image = np.zeros((1, 3, *SIZE), np.float32)
    limit = 0.2 if "sleep" in code else 60.0
    with pytest.raises(ExportError, match=message):
        guard.run_graph_guarded("ncnn", folder, graph, {"image": image}, time_limit=limit)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"MODEL__NUM_CLASSES": 5}, "MODEL.NUM_CLASSES is 5, but .* was exported with 4"),
        ({"INPUT__FORMAT": "BGR"}, "INPUT.FORMAT is BGR"),
        ({"INPUT__FIXED_SIZE_TEST": ()}, "INPUT.FIXED_SIZE_TEST is "),
    ],
)
def test_a_config_of_another_network_is_refused(exported, overrides, message):
    cfg = small_config(**{"INPUT__FIXED_SIZE_TEST": SIZE, **overrides})
    with pytest.raises(ExportError, match=message):
        ExportedModel(cfg, exported("ncnn"))


@pytest.mark.parametrize("runtime", ["onnx", "ncnn"])
def test_a_model_in_use_goes_to_other_processes(exported, runtime):
    model = CoreModel.load(exported(runtime))
    frame = np.random.default_rng(0).integers(0, 256, (*SIZE, 3), np.uint8)
    image = model.prepare(frame)
    expected = model.keyframe([image])
    for copied in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert copied.manifest == model.manifest
        found = copied.keyframe([image])
        assert all(np.array_equal(found[name], expected[name]) for name in expected)
    assert np.array_equal(model.reuse([image]), expected["mask_features"])


def test_a_damaged_config_is_named(folder):
    (folder / "config.yaml").write_text("MODEL: {NUM_CLASSES: [")
    with pytest.raises(ExportError, match=r"config\.yaml"):
        read_config(folder)
