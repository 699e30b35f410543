"""A folder appears whole, with graphs that give what PyTorch gives, or not at all."""

import importlib.util
import json
import shutil

import numpy as np
import pytest
import torch
import yaml
from small_network import SIZE, build_small_network, small_config
from tiny_models import build_lively_model, noise_image, tiny_config
from torch import nn

from mobileinst_core.runtime.runners import PACKAGES
from mobileinst_d2.export import WRITERS, ExportedModel, ExportError, export_model


def needs(runtime):
    packages = {**PACKAGES[runtime], **WRITERS[runtime].packages}
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    # Those for ONNX Runtime and ncnn come with the tests.
    optional = missing and runtime not in ("onnx", "ncnn")
    return pytest.param(runtime, marks=pytest.mark.skipif(optional, reason=f"no {missing}"))


@pytest.mark.parametrize("runtime", [needs(runtime) for runtime in WRITERS])
def test_every_graph_gives_what_pytorch_gives(exported, network, runtime):
    model = ExportedModel.load(exported(runtime))
    # Not the image that the export itself compares.
    image = noise_image(*SIZE, seed=3)[None].float()
    modules = network.export_graphs(SIZE)
    assert list(model.graphs) == ["keyframe", "reuse"]
    for name, module in [(name, modules[name]) for name in model.graphs]:
        found = model.graphs[name](image.numpy())
        with torch.no_grad():
            expected = module(image)
        assert list(found) == list(module.output_names)
        for output, tensor in zip(found.values(), expected, strict=True):
            np.testing.assert_allclose(output, tensor, atol=1e-5 * tensor.abs().max(), rtol=0)


def test_the_graph_for_images_alone_finds_the_same_instances(network, exported, tmp_path):
    folder, runtime = tmp_path / "exported", "ncnn"
    export_model(network, small_config(), SIZE, runtime, folder, graphs=["image"])
    image = noise_image(*SIZE, seed=3).permute(1, 2, 0).numpy()
    model = ExportedModel.load(folder)
    assert list(model.graphs) == ["image"]
    expected, found = ExportedModel.load(exported(runtime)).predict(image), model.predict(image)
    assert len(found) > 0
    np.testing.assert_allclose(found.scores, expected.scores, atol=1e-5)
    assert np.mean(found.masks == expected.masks) > 0.999
    with pytest.raises(ExportError, match="it has image, so it predicts single images and cannot"):
        model.offline_tracker()


def test_the_graph_of_key_frames_alone_tracks_where_every_frame_is_one(network, exported, tmp_path):
    folder = tmp_path / "exported"
    export_model(network, small_config(), SIZE, "onnx", folder, graphs=["keyframe"])
    frames = [noise_image(*SIZE, seed).permute(1, 2, 0).numpy() for seed in range(3)]

    def track(folder, clip_len):
        model = ExportedModel.load(folder, opts=["TEST.TRACKING.CLIP_LEN", str(clip_len)])
        tracker = model.online_tracker(score_on=0.05)
        return [tracker.step(frame) for frame in frames]

    for found, expected in zip(track(folder, 1), track(exported("onnx"), 1), strict=True):
        np.testing.assert_array_equal(found.ids, expected.ids)
        assert len(found) > 0
        assert np.mean(found.masks == expected.masks) > 0.999
    with pytest.raises(ExportError, match=r"without the graph 'reuse'.*CLIP_LEN 1"):
        track(folder, 3)


def test_all_graphs_can_be_in_one_folder(network, tmp_path):
    graphs = ["image", "reuse", "keyframe"]
    manifest = export_model(network, small_config(), SIZE, "onnx", tmp_path / "x", graphs=graphs)
    assert sorted(manifest.graphs) == sorted(graphs)
    # Key frames go on with what the graph of the others gives.
    assert set(manifest.graphs["reuse"]["files"]) < set(manifest.graphs["keyframe"]["files"])
    assert not set(manifest.graphs["image"]["files"]) & set(manifest.graphs["keyframe"]["files"])


@pytest.mark.usefixtures("_graphs_run_in_processes")
def test_a_mobileinst_in_ncnn_gives_what_pytorch_gives(tmp_path):
    network = build_lively_model(INPUT__FIXED_SIZE_TEST=(64, 128))
    export_model(network, tiny_config(), (64, 128), "ncnn", tmp_path / "exported")
    model = ExportedModel.load(tmp_path / "exported")
    images = [noise_image(60, 100, seed) for seed in range(2)]
    with torch.no_grad():
        expected = network.keyframe(images)
        features = network.reuse(images)
        instances = network([{"image": images[0], "height": 120, "width": 200}])[0]["instances"]
    found = model.keyframe(images)
    assert set(found) == {"kernels", "scores", "mask_features"}
    for name, array in found.items():
        torch.testing.assert_close(torch.from_numpy(array), expected[name], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        torch.from_numpy(model.reuse(images)), features, atol=1e-4, rtol=1e-4
    )
    (result,) = model([{"image": images[0], "height": 120, "width": 200}])
    assert len(instances) > 0
    torch.testing.assert_close(result["instances"].scores, instances.scores, atol=1e-4, rtol=0)
    assert result["instances"].pred_classes.tolist() == instances.pred_classes.tolist()
    same = (result["instances"].pred_masks == instances.pred_masks).float().mean()
    assert same > 0.999


@pytest.mark.parametrize("runtime", ["onnx", "ncnn"])
def test_weights_in_half_precision_take_half_the_space(network, exported, tmp_path, runtime):
    folder = tmp_path / "half"
    manifest = export_model(network, small_config(), SIZE, runtime, folder, half_weights=True)
    assert (manifest.precision, manifest.quantization) == ("fp16", None)

    def weights(folder):
        return sum(x.stat().st_size for x in folder.iterdir() if x.suffix in (".bin", ".onnx"))

    assert weights(folder) < 0.7 * weights(exported(runtime))
    images = [noise_image(*SIZE, seed=3)]
    exact = ExportedModel.load(exported(runtime)).keyframe(images)
    found = ExportedModel.load(folder).keyframe(images)
    for name, array in exact.items():
        difference = np.abs(found[name] - array).max() / np.abs(array).max()
        # Rounding to 11 bits is there, and nothing worse.
        assert 1e-6 < difference < 5e-3


def test_the_manifest_says_what_a_program_needs_to_know(exported):
    folder = exported("ncnn")
    content = json.loads((folder / "model.json").read_text())
    cfg = small_config()
    assert content["format_version"] == 4
    assert (content["runtime"], content["precision"]) == ("ncnn", "fp32")
    assert content["meta_architecture"] == "MobileInst"
    image_input = content["input"]
    assert (image_input["layout"], image_input["shape"]) == ("NCHW", [1, 3, *SIZE])
    assert (image_input["channels"], image_input["normalization"]) == (cfg.INPUT.FORMAT, "inside")
    assert image_input["pad_value"] == pytest.approx(cfg.MODEL.PIXEL_MEAN)
    assert (content["mask_stride"], content["thresholds"]["mask"]) == (8, cfg.TEST.MASK_THRESHOLD)
    assert content["class_names"] == [f"class {i}" for i in range(4)]
    assert {"torch", "ncnn", "pnnx"} <= content["versions"].keys()
    keyframe = content["graphs"]["keyframe"]
    assert keyframe["outputs"]["mask_features"] == {
        "tensor": "out2",
        "shape": [1, 16, SIZE[0] // 8, SIZE[1] // 8],
    }
    assert set(keyframe["max_difference"]) == {"kernels", "scores", "mask_features"}
    assert 0 < keyframe["max_difference"]["mask_features"] < 1e-3
    files = {file for graph in content["graphs"].values() for file in graph["files"]}
    assert {path.name for path in folder.iterdir()} == {"model.json", "config.yaml", *files}
    saved = yaml.safe_load((folder / "config.yaml").read_text())
    assert saved["INPUT"]["FIXED_SIZE_TEST"] == list(SIZE)
    assert saved["MODEL"]["WEIGHTS"] == saved["MODEL"]["BACKBONE"]["WEIGHTS"] == ""


class _Different(nn.Module):
    """Gives something else in a trace than in a call."""

    def __init__(self, module):
        super().__init__()
        self.module = module
        self.input_name, self.output_names = module.input_name, module.output_names
        self.example_input = module.example_input

    def forward(self, image):
        outputs = self.module(image)
        if torch.jit.is_tracing():
            return tuple(1.01 * x for x in outputs)
        return outputs


class _OneGraph:
    """A network that exports in less time."""

    mask_stride, mask_upsampling, stretches_images = 8, 2, False

    def __init__(self, wrap=lambda graph: graph):
        self.wrap = wrap

    def export_graphs(self, size):
        return {"reuse": self.wrap(build_small_network().export_graphs(size)["reuse"]).eval()}


@pytest.mark.parametrize("existing", [False, True])
def test_a_failed_export_leaves_everything_as_it_was(folder, existing):
    """Interrupted ones are in tests/tools/test_export.py."""
    output = folder if existing else folder.parent / "some" / "new"
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(ExportError, match=r"reuse\.ncnn.*mask_features differs .* 1 % of"):
        export_model(_OneGraph(_Different), small_config(), SIZE, "ncnn", output, overwrite=True)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_only_a_whole_exported_folder_is_replaced_and_only_when_asked(folder, tmp_path):
    def refuses(message, output, overwrite=True):
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        with pytest.raises(ExportError, match=message):
            export_model(_OneGraph(), small_config(), SIZE, "ncnn", output, overwrite=overwrite)
        after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert after == before

    refuses(r"exported exists already; --overwrite", folder, overwrite=False)
    (folder / "notes.txt").write_text("mine")
    refuses(r"more than an exported model \(notes\.txt\)", folder)
    refuses("notes.txt is a file", folder / "notes.txt")
    (folder / "notes.txt").unlink()
    (folder / "keyframe.ncnn.bin").write_bytes(b"")
    refuses(r"no exported folder .*bytes instead of", folder)
    (folder / "model.json").unlink()
    refuses(r"no exported folder .*no model\.json", folder)


def test_an_exported_folder_is_replaced_as_a_whole_and_an_empty_one_is_filled(folder):
    (folder.parent / "empty").mkdir()
    export_model(_OneGraph(), small_config(), SIZE, "ncnn", folder.parent / "empty")
    assert ExportedModel.load(folder.parent / "empty").size == SIZE
    shutil.rmtree(folder.parent / "empty")
    export_model(_OneGraph(), small_config(), SIZE, "ncnn", folder, overwrite=True)
    assert list(ExportedModel.load(folder).graphs) == ["reuse"]
    assert not (folder / "keyframe.ncnn.bin").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
