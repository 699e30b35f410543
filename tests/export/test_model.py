"""An exported folder in place of a model, and folders that cannot be used."""

import json
import subprocess

import numpy as np
import pytest
import torch
from small_network import SIZE, small_config
from tiny_models import noise_image

from mobileinst_core.runtime import runners
from mobileinst_d2.export import RUNNERS, ExportedModel, ExportError, guard
from mobileinst_d2.export.model import read_config
from mobileinst_d2.tracking import StreamingPredictor


@pytest.fixture
def model(exported):
    return ExportedModel.load(exported("ncnn"))


def test_smaller_images_stand_top_left_on_the_mean(model, network):
    image = noise_image(50, 90)
    padded = torch.tensor(small_config().MODEL.PIXEL_MEAN).view(1, 3, 1, 1).repeat(1, 1, *SIZE)
    padded[0, :, :50, :90] = image
    with torch.no_grad():
        expected = network.reuse([padded[0]])
    for frame in (image, image.numpy(), image.float()):
        np.testing.assert_allclose(model.reuse([frame]), expected, atol=1e-5)


def test_frames_go_through_one_by_one(model):
    frames = [noise_image(*SIZE, seed) for seed in range(3)]
    together = model.keyframe(frames)
    assert together["scores"].shape == (3, 20, 4)
    for number, frame in enumerate(frames):
        alone = model.keyframe([frame])
        for name, array in alone.items():
            np.testing.assert_array_equal(array[0], together[name][number])


def test_images_that_are_too_large_are_refused(model):
    with pytest.raises(ExportError, match=r"64x129 pixels does not fit into the exported 64x128"):
        model.reuse([torch.zeros(3, 64, 129)])


def test_thresholds_are_those_of_the_folder_unless_overridden(exported):
    image = {"image": noise_image(*SIZE)}
    model = ExportedModel.load(exported("ncnn"))
    (result,) = model([image])
    assert len(result["instances"]) > 3
    opts = ["TEST.SCORE_THRESHOLD", "1.0"]
    (none,) = ExportedModel.load(exported("ncnn"), opts=opts)([image])
    assert len(none["instances"]) == 0
    opts = ["TEST.DETECTIONS_PER_IMAGE", "2"]
    (two,) = ExportedModel.load(exported("ncnn"), opts=opts)([image])
    assert two["instances"].scores.tolist() == result["instances"].scores[:2].tolist()


def test_it_tracks_a_stream(exported):
    folder = exported("ncnn")
    cfg = small_config(INPUT__FIXED_SIZE_TEST=SIZE, TEST__TRACKING__CLIP_LEN=2)
    cfg.TEST.STREAMING.SCORE_ON = cfg.TEST.STREAMING.SCORE_OFF = 0.0
    stream = StreamingPredictor(cfg, ExportedModel(cfg, folder))
    frame = noise_image(48, 80).permute(1, 2, 0).numpy()
    first = stream.step(frame)
    second = stream.step(frame)
    assert not stream.is_keyframe
    assert len(first) > 0
    assert first.ID == second.ID
    assert first.image_size == (48, 80)


def test_graphs_are_loaded_when_they_are_used_without_another_process(exported, monkeypatch):
    model = ExportedModel.load(exported("ncnn"))
    loaded = []

    class Runner(RUNNERS["ncnn"]):
        def _load(self, num_threads):
            loaded.append(list(self.outputs))
            super()._load(num_threads)

    monkeypatch.setitem(RUNNERS, "ncnn", Runner)
    monkeypatch.setattr(subprocess, "Popen", None)
    frame = torch.zeros(3, *SIZE)
    for _ in range(2):
        model.reuse([frame])
    assert loaded == [["mask_features"]]
    assert list(model.graphs) == ["image", "keyframe", "reuse"]


def test_a_runtime_that_is_not_installed_is_named(exported, monkeypatch):
    monkeypatch.setattr(runners, "_is_installed", lambda module: False)
    with pytest.raises(ExportError, match=r"ncnn needs ncnn, not installed here: pip install"):
        ExportedModel.load(exported("ncnn"))


def test_a_folder_of_another_runtime_is_named(exported):
    with pytest.raises(ExportError, match="was exported for ncnn, not for onnx"):
        ExportedModel.load(exported("ncnn"), runtime="onnx")


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", r"ncnn with .* crashed"),
        ("print('out of luck'); raise SystemExit(3)", r"(?s)exit status 3\).*out of luck"),
        ("import time; time.sleep(60)", "did not end within 0.2 seconds"),
    ],
)
def test_a_runtime_that_crashes_does_not_end_the_export(exported, monkeypatch, code, message):
    monkeypatch.setattr(guard, "_CODE", code)
    folder = exported("ncnn")
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


def test_folders_that_are_none_are_named(folder, tmp_path):
    with pytest.raises(ExportError, match=r"there is no folder .*gone"):
        ExportedModel.load(tmp_path / "gone")
    (folder / "model.json").unlink()
    with pytest.raises(ExportError, match=r"exported is no exported model: it has no model\.json"):
        ExportedModel.load(folder)
    (folder / "model.json").write_text('{"name": "someone else\'s"}')
    with pytest.raises(ExportError, match=r"was not written by tools/export\.py"):
        ExportedModel.load(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[1]", b"null"])
def test_a_damaged_manifest_is_named(folder, content):
    (folder / "model.json").write_bytes(content)
    with pytest.raises(ExportError, match=r"model\.json"):
        ExportedModel.load(folder)


def break_shape(content):
    content["input"]["shape"] = [1, 3, 64]


def break_graphs(content):
    content["graphs"] = []


def escape(content):
    graph = content["graphs"]["image"]
    graph["files"] = {f"../{name}": digest for name, digest in graph["files"].items()}


def drop(*keys):
    def change(content):
        *path, last = keys
        for key in path:
            content = content[key]
        del content[last]

    return change


def other_outputs(**shapes):
    def change(content):
        for graph in content["graphs"].values():
            for name in graph["outputs"].keys() & shapes.keys():
                graph["outputs"][name]["shape"] = shapes[name]

    return change


def swap_kernels_and_features(content):
    outputs = content["graphs"]["keyframe"]["outputs"]
    first, second = "kernels", "mask_features"
    outputs[first], outputs[second] = outputs[second], outputs[first]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (drop("class_names"), "has no 'class_names'"),
        (drop("input", "pad_value"), "pad_value"),
        (drop("graphs", "image", "outputs", "scores", "shape"), "shape"),
        (break_shape, r"input\.shape"),
        (break_graphs, "graphs"),
        (escape, r"graphs\.image\.files"),
        (lambda content: content.update(format_version=1), "format_version 1, .* reads 2: export"),
        (lambda content: content.update(mask_stride=4), "mask_logits"),
        (lambda content: content.update(mask_stride=5), "mask_stride"),
        (lambda content: content.update(mask_stride=0), "mask_stride"),
        (lambda content: content.update(class_names=["fox", "owl"]), "category_ids"),
        (drop("input", "normalization"), "normalization"),
        (lambda content: content["input"].update(normalization="outside"), "normalization"),
        (other_outputs(mask_features=[1, 16, 8, 15]), r"graphs\.keyframe\.outputs\.mask_features"),
        (other_outputs(mask_features=[1, 16, 8]), r"graphs\.keyframe\.outputs\.mask_features"),
        (other_outputs(kernels=[1, 16, 16]), r"graphs\.keyframe\.outputs\.kernels"),
        (other_outputs(scores=[1, 20, 5]), r"graphs\.image\.outputs\.scores"),
        (swap_kernels_and_features, r"graphs\.keyframe\.outputs\.(kernels|mask_features)"),
    ],
)
def test_a_manifest_that_makes_no_sense_is_named(folder, edit_manifest, change, message):
    edit_manifest(change)
    with pytest.raises(ExportError, match=rf"model\.json.*{message}"):
        ExportedModel.load(folder)


def test_a_file_that_is_not_the_one_described_is_named(folder):
    path = folder / "reuse.ncnn.bin"
    data = path.read_bytes()
    path.write_bytes(data[:-1])
    with pytest.raises(
        ExportError,
        match=rf"reuse\.ncnn\.bin is not the .* {len(data) - 1} bytes instead of {len(data)}",
    ):
        ExportedModel.load(folder)
    path.unlink()
    with pytest.raises(ExportError, match=r"graph 'reuse' is missing.*reuse\.ncnn\.bin"):
        ExportedModel.load(folder)


def wrong_tensor(content):
    content["graphs"]["reuse"]["outputs"]["mask_features"]["tensor"] = "out7"


def wrong_shape(content):
    other_outputs(mask_features=[1, 15, 8, 16])(content)
    other_outputs(kernels=[1, 20, 15])(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (wrong_tensor, "manifest names out7"),
        (wrong_shape, r"manifest says mask_features \(1, 15, 8"),
    ],
)
def test_a_manifest_that_does_not_match_its_graph_is_told(folder, edit_manifest, change, message):
    edit_manifest(change)
    with pytest.raises(ExportError, match=message):
        ExportedModel.load(folder).reuse([torch.zeros(3, *SIZE)])


def test_onnx_names_are_compared_too(exported, tmp_path):
    graph = json.loads((exported("onnx") / "model.json").read_text())["graphs"]["reuse"]
    graph["outputs"]["mask_features"]["tensor"] = "other"
    with pytest.raises(ExportError, match=r"reuse\.onnx has the outputs mask_features"):
        RUNNERS["onnx"](exported("onnx"), graph)
    (tmp_path / "reuse.onnx").write_bytes(b"no model")
    with pytest.raises(ExportError, match=r"reuse\.onnx cannot be loaded"):
        RUNNERS["onnx"](tmp_path, graph)


def test_a_graph_that_was_not_exported_is_named(folder, edit_manifest):
    edit_manifest(drop("graphs", "keyframe"))
    model = ExportedModel.load(folder)
    with pytest.raises(ExportError, match="without the graph 'keyframe'; it has image, reuse"):
        model.keyframe([torch.zeros(3, *SIZE)])


def test_a_damaged_config_is_named(folder):
    (folder / "config.yaml").write_text("MODEL: {NUM_CLASSES: [")
    with pytest.raises(ExportError, match=r"config\.yaml"):
        read_config(folder)


def test_arrays_of_other_shapes_or_types_are_refused(model):
    runner = model.graphs["reuse"]
    for array in (np.zeros((1, 3, 64, 64), np.float32), np.zeros((1, 3, *SIZE))):
        with pytest.raises(ExportError, match=r"takes float32 arrays image \(1, 3, 64, 128\)"):
            runner(array)
