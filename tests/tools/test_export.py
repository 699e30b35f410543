"""The command that exports a model for a phone."""

import json
import os
import signal
import sys
import time

import numpy as np
import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image
from small_network import SIZE, build_small_network, small_config
from tiny_models import FEW_LAYERS, build_lively_model, tiny_config

from mobileinst_core.video.writers import VideoWriter
from mobileinst_d2.commands.calibration import calibration_frames, split_frames
from mobileinst_d2.commands.export import main
from mobileinst_d2.export import read_manifest
from mobileinst_d2.utils.classes import save_class_names


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Config and weights of a tiny model, with class names beside them."""
    folder = tmp_path_factory.mktemp("trained")
    cfg = tiny_config(**FEW_LAYERS)
    (folder / "config.yaml").write_text(cfg.dump())
    torch.save({"model": build_lively_model(**FEW_LAYERS).state_dict()}, folder / "model.pth")
    save_class_names(folder, ["fox", "owl", "elk", "hen"], [7, 5, 3, 9])
    return folder


def arguments(trained, output, *more, size=("64", "64"), runtime="ncnn"):
    return [
        *("--config-file", str(trained / "config.yaml"), "--weights", str(trained / "model.pth")),
        *("--size", *size, "--format", runtime, "--output", str(output), *more),
    ]


def test_a_trained_model_is_exported(trained, tmp_path, capsys):
    main(arguments(trained, tmp_path / "exported"))
    assert f"{tmp_path / 'exported'}: exported for ncnn" in capsys.readouterr().out
    manifest = read_manifest(tmp_path / "exported")
    assert manifest.size == (64, 64)
    assert manifest.class_names == ["fox", "owl", "elk", "hen"]
    assert manifest.category_ids == [7, 5, 3, 9]
    assert set(manifest.graphs) == {"keyframe", "reuse"}


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--int8"], "--int8 and --calibration SOURCE go together"),
        (["--calibration", "shapes"], "--int8 and --calibration SOURCE go together"),
        (["--int8", "--calibration", "shapes", "--fp16"], "--int8 and --fp16"),
        (["--int8", "--calibration", "shapes"], "--int8 is for --format onnx and openvino"),
        (["TEST.MASK_TRESHOLD", "0.5"], "no config key 'TEST.MASK_TRESHOLD'"),
        (["--graphs", "keyframe", "masks"], "no graph 'masks'; --graphs can be image, key"),
        (["--weights", "gone.pth"], r"gone\.pth"),
        (["--size", "64", "100"], "64, 100.*multiples of 64"),
        (
            ["--format", "onnx", "--int8", "--calibration", "nobodys"],
            "no data set, folder or video",
        ),
    ],
)
def test_mistakes_are_told(trained, tmp_path, more, message, fails):
    fails(f"^error: .*{message}", main, arguments(trained, tmp_path / "exported", *more))
    assert list(tmp_path.iterdir()) == []
    # A folder of something else is found before the work.
    (tmp_path / "notes.txt").write_text("mine")
    if more[0] == "--weights":
        fails("not empty and no exported folder", main, arguments(trained, tmp_path, *more))


@pytest.fixture
def calibration_sets(tmp_path):
    """Registered sets of ten images, and of two videos of five frames each."""
    names = []
    for number in range(10):
        names.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(np.full((40, 80, 3), 10 * number, np.uint8)).save(names[-1])
    size = {"height": 40, "width": 80}
    images = [{"file_name": n, "image_id": i, **size} for i, n in enumerate(names)]
    videos = [
        {"video_id": i, "file_names": names[5 * i : 5 * i + 5], "length": 5, "tracks": [], **size}
        for i in range(2)
    ]
    for name, records, kind in (("stills", images, "coco"), ("films", videos, "ytvis")):
        DatasetCatalog.register(name, lambda records=records: records)
        MetadataCatalog.get(name).evaluator_type = kind
    yield
    for name in ("stills", "films"):
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


@pytest.mark.parametrize("name", ["stills", "films"])
def test_calibration_images_are_spread_over_the_data_set(calibration_sets, name):
    cfg = small_config(INPUT__FIXED_SIZE_TEST=SIZE)
    frames = calibration_frames(cfg, name, 4)
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 30, 60, 90]
    assert {tuple(frame.shape) for frame in frames} == {(3, 64, 128)}
    assert len(calibration_frames(cfg, name, 99)) == 10


def test_calibration_takes_folders_and_videos(calibration_sets, tmp_path):
    cfg = small_config(INPUT__FIXED_SIZE_TEST=SIZE)
    frames = calibration_frames(cfg, str(tmp_path), 4)
    assert [int(frame[0, 0, 0]) for frame in frames] == [0, 30, 60, 90]
    with VideoWriter(tmp_path / "film.mp4", fps=10, size=(80, 40)) as writer:
        for grey in range(0, 240, 20):
            writer.write(np.full((40, 80, 3), grey, np.uint8))
    frames = calibration_frames(cfg, str(tmp_path / "film.mp4"), 3)
    greys = [float(frame.float().mean()) for frame in frames]
    assert np.abs(np.subtract(greys, [0, 120, 220])).max() < 12
    assert {tuple(frame.shape) for frame in frames} == {(3, 64, 128)}


def test_images_are_held_out_and_bad_ones_are_told_of(caplog):
    images = [torch.full((3, 8, 8), i, dtype=torch.uint8) for i in range(18)]
    kept, held_out = split_frames(images)
    assert (len(kept), len(held_out)) == (16, 2)
    assert sorted(int(image[0, 0, 0]) for image in kept + held_out) == list(range(18))
    assert "16 of 16 calibration images have one colour" in caplog.text
    assert "Only" not in caplog.text
    noise = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8)
    caplog.clear()
    kept, held_out = split_frames(list(noise))
    assert (len(kept), len(held_out)) == (4, 1)
    assert "Only 4 images" in caplog.text
    assert "colour" not in caplog.text
    assert [len(part) for part in split_frames([noise[0]])] == [1, 0]


def test_int8_of_the_command(trained, tmp_path, monkeypatch, calibration_sets):
    # The small network exports in less time.
    class Predictor:
        model = build_small_network()

    monkeypatch.setattr("mobileinst_d2.commands.export.load_predictor", lambda cfg: Predictor)
    more = ["--int8", "--calibration", "films", "--calibration-images", "3"]
    size = tuple(map(str, SIZE))
    main(arguments(trained, tmp_path / "int8", *more, size=size, runtime="onnx"))
    content = json.loads((tmp_path / "int8" / "model.json").read_text())
    assert content["precision"] == "int8"
    assert content["quantization"]["calibration_images"] == 3


def run_command(rank, *command_line):
    sys.exit(main(command_line))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_nothing(trained, tmp_path, number):
    command_line = tuple(arguments(trained, tmp_path / "deep" / "exported"))
    started = torch.multiprocessing.spawn(run_command, args=command_line, join=False)
    (process,) = started.processes
    try:
        while not list(tmp_path.iterdir()) and process.is_alive():
            time.sleep(0.02)  # until it writes
        assert process.is_alive(), "it has ended by itself"
        os.kill(process.pid, number)
        process.join(timeout=120)
        assert process.exitcode not in (0, None)
    finally:
        process.kill()
    assert list(tmp_path.iterdir()) == []
