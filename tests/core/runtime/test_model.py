"""An exported folder as a model, without PyTorch."""

import numpy as np
import pytest
import torch
from small_network import SIZE, small_config
from tiny_models import noise_image

from mobileinst_core.runtime import runners
from mobileinst_core.runtime.model import ExportedModel
from mobileinst_core.runtime.runners import ExportError


@pytest.fixture
def model(exported):
    return ExportedModel.load(exported("ncnn"))


@pytest.fixture
def frame():
    """(H, W, 3) uint8, BGR."""
    return noise_image(48, 80).permute(1, 2, 0).numpy()


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
    with pytest.raises(ExportError, match=r"64x129 pixels does not fit into 64x128"):
        model.reuse([torch.zeros(3, 64, 129)])


@pytest.mark.parametrize("runtime", ["ncnn", "onnx"])
def test_weights_of_several_graphs_are_loaded_once(exported, monkeypatch, runtime):
    module = pytest.importorskip({"ncnn": "ncnn", "onnx": "onnxruntime"}[runtime])
    name = {"ncnn": "Net", "onnx": "InferenceSession"}[runtime]
    load, loaded = getattr(module, name), []

    def count(*args, **options):
        loaded.append(args)
        return load(*args, **options)

    folder = exported(runtime)  # an export loads them too, to compare
    monkeypatch.setattr(module, name, count)
    model = ExportedModel.load(folder)
    frame = noise_image(*SIZE)
    features = model.reuse([frame])
    np.testing.assert_allclose(model.keyframe([frame])["mask_features"], features, atol=1e-6)
    # In ONNX the rest of a key frame is a second file.
    assert len(loaded) == {"ncnn": 1, "onnx": 2}[runtime]


def test_a_runtime_that_is_not_installed_is_named(exported, monkeypatch):
    monkeypatch.setattr(runners, "_is_installed", lambda module: False)
    with pytest.raises(ExportError, match=r"ncnn needs ncnn, not installed here: pip install"):
        ExportedModel.load(exported("ncnn"))


def test_a_folder_of_another_runtime_is_named(exported):
    with pytest.raises(ExportError, match="was exported for ncnn, not for onnx"):
        ExportedModel.load(exported("ncnn"), runtime="onnx")


def test_a_graph_that_was_not_exported_is_named(folder, edit_manifest):
    edit_manifest(lambda content: content["graphs"].pop("keyframe"))
    model = ExportedModel.load(folder)
    with pytest.raises(ExportError, match="without the graph 'keyframe'; it has reuse"):
        model.keyframe([torch.zeros(3, *SIZE)])

    with pytest.raises(ExportError, match="without the graph 'keyframe'"):
        model.online_tracker()
    with pytest.raises(ExportError, match="without the graph 'image'"):
        model.predict(np.zeros((64, 64, 3), np.uint8))


def test_thresholds_are_those_of_the_folder_unless_overridden(exported, frame):
    found = ExportedModel.load(exported("ncnn")).predict(frame)
    assert len(found) > 3
    assert found.image_size == (48, 80)
    opts = ["TEST.SCORE_THRESHOLD", "1.0"]
    assert len(ExportedModel.load(exported("ncnn"), opts=opts).predict(frame)) == 0
    opts = ["TEST.DETECTIONS_PER_IMAGE", "2"]
    two = ExportedModel.load(exported("ncnn"), opts=opts).predict(frame)
    assert two.scores.tolist() == found.scores[:2].tolist()


def test_it_tracks_a_stream(exported, frame):
    opts = ["TEST.TRACKING.CLIP_LEN", "2"]
    stream = ExportedModel.load(exported("ncnn"), opts=opts).online_tracker(score_on=0.0)
    first, second = stream.step(frame), stream.step(frame)
    assert not stream.is_keyframe
    assert len(first) > 0
    assert first.ids.tolist() == second.ids.tolist()
    assert first.image_size == (48, 80)


def test_another_score_to_appear_keeps_the_ratio_to_the_one_to_vanish(model):
    stream = model.online_tracker(score_on=0.1)
    assert (stream.tracks.score_on, stream.tracks.score_off) == (0.1, pytest.approx(0.05))
    exported = model.online_tracker()
    assert (exported.tracks.score_on, exported.tracks.score_off) == (0.4, 0.2)
