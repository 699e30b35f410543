"""What users of the demo read when something is wrong."""

import json

import pytest
import torch
from small_videos import times_of

from mobileinst_d2.engine import predictor


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-file", "c.yaml"], "one of the arguments"),
        (["--model", "d", "--runtime", "abacus", "--webcam"], "invalid choice: 'abacus'"),
        (["--config-file", "c.yaml", "--input", "a.jpg", "--webcam"], "not allowed with"),
        (["--config-file", "c.yaml", "--video-input", "a.mp4", "--webcam", "0"], "not allowed"),
        (["--config-file", "c.yaml", "--webcam", "-1"], "below 0"),
        (["--config-file", "c.yaml", "--webcam", "--confidence-threshold", "1.2"], "[0, 1]"),
        (["--config-file", "c.yaml", "--webcam", "--confidence-threshold", "nan"], "[0, 1]"),
        (["--config-file", "c.yaml", "--webcam", "--fps", "0"], "not positive"),
        (["--config-file", "c.yaml", "--input", "a.jpg", "--fps", "5"], "--fps is for videos"),
        (["--config-file", "c.yaml", "--input", "a.jpg", "--start", "0"], "--start is for videos"),
        (["--config-file", "c.yaml", "--input", "a.jpg", "--save-json", "r.json"], "for videos"),
        (["--config-file", "c.yaml", "--webcam", "--stride", "0"], "0 is below 1"),
        (["--config-file", "c.yaml", "--webcam", "--start", "-1"], "-1 is below 0"),
        (["--config-file", "c.yaml", "--webcam", "--clip-len", "0"], "0 is below 1"),
        (["--config-file", "c.yaml", "--webcam", "--end", "x"], "invalid whole number"),
        (["--config-file", "c.yaml", "--webcam", "--start", "5", "--end", "5"], "above --start"),
        (["--config-file", "c.yaml", "--webcam", "--video-id", "5"], "is for --save-json"),
    ],
)
def test_wrong_arguments(demo, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        demo.main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def test_sources_that_cannot_be_opened(failing, fake, tmp_path):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "empty").mkdir()
    for option, source, message in (
        ("--video-input", tmp_path / "gone.mp4", "gone.mp4"),
        ("--video-input", tmp_path / "bad.mp4", "cannot open"),
        ("--video-input", tmp_path / "empty", "holds no image"),
        ("--input", tmp_path / "gone.jpg", "no such image"),
        ("--input", tmp_path / "empty", "holds no image"),
        ("--input", tmp_path / "bad.mp4", "--video-input"),
        ("--webcam", "97", "cannot open camera 97"),
        ("--video-input", "http://localhost:9/a.mp4", "reachable"),
    ):
        assert message in failing(option, source, "--output", tmp_path / "out")


def test_outputs_that_cannot_be_written(failing, fake, video, images, tmp_path):
    existing = tmp_path / "there.mp4"
    existing.write_bytes(b"precious")
    for option, source, output, message in (
        ("--video-input", video, "out.txt", "suffix"),
        ("--video-input", video, "clip.mp4", "replace the input"),
        ("--video-input", video, "there.mp4", "--overwrite"),
        ("--video-input", video, "there.mp4/out.mp4", "cannot write"),
        ("--input", images, "out.png", "give a folder"),
        ("--input", images / "img1.png", "out.mp4", "images are written"),
        ("--input", images, "images", "replace the input"),
    ):
        assert message in failing(option, source, "--output", tmp_path / output)
    assert existing.read_bytes() == b"precious"
    message = failing("--video-input", video, "--output", tmp_path / "a.mov", "--codec", "vp9")
    assert "with .mov it is one of h264" in message


def test_unreadable_image_is_named_and_the_others_are_drawn(failing, fake, images, tmp_path):
    (images / "broken.png").write_bytes(b"no image")
    message = failing("--input", images, "--output", tmp_path / "out")
    assert "1 of 4 images" in message
    assert "broken.png" in message
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_results_and_masks_that_cannot_be_written(failing, fake, images, tmp_path):
    (tmp_path / "there.json").write_text("precious")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x.png").touch()
    for option, output, message in (
        ("--save-json", "r.txt", "must end with .json"),
        ("--save-json", "there.json", "--overwrite"),
        ("--save-json", "there.json/r.json", "cannot write"),
        ("--save-masks", "there.json/m", "cannot write"),
        ("--save-masks", "full", "--overwrite"),
        ("--save-masks", "images", "replace the input"),
    ):
        assert message in failing("--video-input", images, option, tmp_path / output)
    assert (tmp_path / "there.json").read_text() == "precious"
    assert fake.frames == 0


def test_damaged_frames_are_named_and_the_video_keeps_its_length(
    failing, fake, images, tmp_path, caplog
):
    for name in ("img5.png", "img99.png"):
        (images / name).write_bytes(b"no image")
    output, results = tmp_path / "o.mp4", tmp_path / "r.json"
    message = failing("--video-input", images, "--output", output, "--save-json", results)
    assert "2 of 5 frames could not be decoded" in message
    assert "img5.png" in caplog.text
    assert "img99.png" in caplog.text
    # At 10 frames per second: the second is shown for two, and the last one again at the end.
    assert times_of(output) == pytest.approx([0, 0.1, 0.3, 0.4])
    (entry,) = json.loads(results.read_text())
    assert [mask is None for mask in entry["segmentations"]] == [False, False, True, False, True]


def test_unknown_classes_are_numbered(run, fake, video, tmp_path, caplog, written):
    outputs = ("--output", tmp_path / "o.mp4", "--save-json", tmp_path / "r.json")
    assert run("--video-input", video, "--end", 1, *outputs) == 0
    assert written == ["#5 class 1 .90"]
    assert "numbered 1 to 3" in caplog.text
    assert json.loads((tmp_path / "r.json").read_text())[0]["category_id"] == 2


def test_configs_and_weights_that_cannot_be_used(demo, failing, fails, config, images, tmp_path):
    source = ["--input", str(images / "img1.png"), "--output", str(tmp_path / "out.png")]
    for extra, message in (
        (["--opts", "MODEL.NUM_CLASES", "3"], "MODEL.NUM_CLASES"),
        (["--opts", "MODEL.META_ARCHITECTURE", "MobilInst"], "MobilInst"),
        (["--opts", "MODEL.WEIGHTS", tmp_path / "gone.pth"], "gone.pth"),
        (["--opts", "MODEL.WEIGHTS", config], "tiny.yaml"),
        (["--model", images], "exclude"),
        (["--runtime", "onnx"], "--model"),
    ):
        assert message in failing(*source, *extra)
    fails(r"gone\.yaml", demo.main, ["--config-file", "gone.yaml", *source])
    fails("--config-file", demo.main, source)
    fails("no exported model", demo.main, ["--model", str(images), *source])
    assert not (tmp_path / "out.png").exists()


def test_model_that_cannot_track_is_refused(failing, video, tmp_path, monkeypatch):
    model = torch.nn.Identity()
    monkeypatch.setattr(predictor, "load_predictor", lambda cfg: predictor.Predictor(cfg, model))
    assert "cannot track" in failing("--video-input", video, "--output", tmp_path / "o.mp4")
