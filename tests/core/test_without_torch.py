"""The metric, the tools for annotations and the demo where PyTorch is not installed."""

import json

import numpy as np
import pytest
from PIL import Image
from tiny_models import noise_image

from mobileinst_core.files import read_json
from mobileinst_core.video.images import read_image
from mobileinst_d2.engine import setup_cfg
from mobileinst_d2.export import ExportedModel
from mobileinst_d2.tracking import VideoPredictor
from mobileinst_d2.utils.resizing import build_frame_preparation


@pytest.fixture(scope="module")
def run_tool(torch_free_python, repository):
    """Run a tool; returns what it prints."""

    def run(name, *arguments, **options):
        return torch_free_python.run(repository / "tools" / f"{name}.py", *arguments, **options)

    return run


@pytest.fixture(scope="module")
def shapes(run_tool, tmp_path_factory):
    """A data set that the tool made there: the folder of its validation part."""
    folder = tmp_path_factory.mktemp("shapes")
    options = ("--num-videos", 4, "--num-val-videos", 2, "--num-frames", 3, "--seed", 2)
    run_tool("make_moving_shapes", "--output", folder, *options)
    return folder / "val"


def test_pytorch_is_not_installed(torch_free_python):
    for package in ("torch", "torchvision", "detectron2", "mobileinst_d2"):
        run = torch_free_python.run("-c", f"import {package}", check=False)
        assert f"No module named '{package}'" in run.stderr


def test_every_module_can_be_imported(torch_free_python):
    program = (
        "import importlib, pkgutil, mobileinst_core\n"
        "for module in pkgutil.walk_packages(mobileinst_core.__path__, 'mobileinst_core.'):\n"
        "    importlib.import_module(module.name)\n"
    )
    torch_free_python.run("-c", program)


@pytest.mark.parametrize(
    "module", ["mobileinst_core.ytvis.evaluate", "mobileinst_d2.evaluation.ytvis"]
)
def test_metric(torch_free_python, repository, shapes, tmp_path, module):
    tracks = read_json(shapes / "instances.json")["annotations"]
    results = tmp_path / "results.json"
    keys = ("video_id", "category_id", "segmentations")
    results.write_text(json.dumps([{k: t[k] for k in keys} | {"score": 0.5} for t in tracks]))
    out = tmp_path / "metrics.json"
    arguments = ("--gt", shapes / "instances.json", "--results", results, "--out", out)
    # The second name is that of a clone, as only the first is installed.
    run = torch_free_python.run("-m", module, *arguments, PYTHONPATH=str(repository))
    # What Python says of a module that its package has imported already.
    assert "found in sys.modules" not in run.stderr
    assert read_json(out)["AP"] == pytest.approx(100)


@pytest.fixture
def images(tmp_path):
    """A folder of frames with shapes in them."""
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(3):
        pixels = noise_image(48, 80, number).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def test_a_video_is_tracked_with_an_exported_folder_as_with_pytorch(
    torch_free_python, exported, images, tmp_path
):
    folder = exported("onnx")
    options = ("--video-input", images, "--confidence-threshold", 0, "--clip-len", 2)
    outputs = ("--save-json", tmp_path / "r.json", "--save-masks", tmp_path / "masks")
    torch_free_python.run("-m", "mobileinst_core.demo", "--model", folder, *options, *outputs)

    cfg = setup_cfg(folder / "config.yaml", ["TEST.TRACKING.CLIP_LEN", "2"])
    videos = VideoPredictor(cfg, ExportedModel(cfg, folder))
    frames = [read_image(path) for path in sorted(images.iterdir())]
    expected = videos.predict(map(build_frame_preparation(cfg), frames), (48, 80))
    tracks = read_json(tmp_path / "r.json")
    assert [track["score"] for track in tracks] == expected["pred_scores"]
    found = [rle and rle["counts"].encode() for t in tracks for rle in t["segmentations"]]
    assert found == [rle and rle["counts"] for rles in expected["pred_rles"] for rle in rles]
    for path in (tmp_path / "masks").iterdir():
        assert np.asarray(Image.open(path)).any()


def test_a_config_needs_what_is_not_installed(torch_free_python, images):
    options = ("--config-file", "a.yaml", "--input", images, "--output", "out")
    run = torch_free_python.run("-m", "mobileinst_core.demo", *options, check=False)
    assert run.returncode == 1
    assert "error: a model in PyTorch (--config-file) cannot be run here" in run.stderr
    assert "An exported folder (--model) needs neither" in run.stderr
