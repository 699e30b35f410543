"""What users of the demo read when something is wrong."""

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-file", "c.yaml"], "one of the arguments"),
        (["--input", "a.jpg"], "--config-file"),
        (["--config-file", "c.yaml", "--input", "a.jpg", "--webcam"], "not allowed with"),
        (["--config-file", "c.yaml", "--video-input", "a.mp4", "--webcam", "0"], "not allowed"),
        (["--config-file", "c.yaml", "--webcam", "-1"], "from 0"),
        (["--config-file", "c.yaml", "--webcam", "--confidence-threshold", "1.2"], "[0, 1]"),
        (["--config-file", "c.yaml", "--webcam", "--confidence-threshold", "nan"], "[0, 1]"),
        (["--config-file", "c.yaml", "--webcam", "--fps", "0"], "not positive"),
        (["--config-file", "c.yaml", "--input", "a.jpg", "--fps", "5"], "are for videos"),
    ],
)
def test_wrong_arguments(demo, capsys, arguments, message):
    with pytest.raises(SystemExit) as exit_:
        demo.main(arguments)
    assert exit_.value.code == 2
    assert message in capsys.readouterr().err


def failing(demo, capsys, arguments):
    """Run the demo, which must fail in the way meant for users; returns the message."""
    assert demo.main([str(argument) for argument in arguments]) == 1
    message = capsys.readouterr().err
    assert "error: " in message
    assert "Traceback" not in message
    return message


def test_sources_that_cannot_be_opened(demo, fake, config, tmp_path, capsys, monkeypatch):
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    (tmp_path / "empty").mkdir()
    output = ["--output", tmp_path / "out"]
    for source, message in (
        (["--video-input", tmp_path / "gone.mp4"], "gone.mp4"),
        (["--video-input", tmp_path / "bad.mp4"], "cannot open"),
        (["--video-input", tmp_path / "empty"], "holds no image"),
        (["--input", tmp_path / "gone.jpg"], "no such image"),
        (["--input", tmp_path / "empty"], "holds no image"),
        (["--input", tmp_path / "bad.mp4"], "--video-input"),
        (["--webcam", "97"], "cannot open camera 97"),
    ):
        assert message in failing(demo, capsys, ["--config-file", config, *source, *output])


def test_outputs_that_cannot_be_written(demo, fake, config, video, images, tmp_path, capsys):
    existing = tmp_path / "there.mp4"
    existing.write_bytes(b"precious")
    for source, output, message in (
        (["--video-input", video], "out.txt", "suffix"),
        (["--video-input", video], "clip.mp4", "replace the input"),
        (["--video-input", video], "there.mp4", "--overwrite"),
        (["--video-input", video], "there.mp4/out.mp4", "cannot write"),
        (["--input", images], "out.png", "give a folder"),
        (["--input", images / "img1.png"], "out.mp4", "images are written"),
        (["--input", images], "pictures", "replace the input"),
    ):
        arguments = ["--config-file", config, *source, "--output", tmp_path / output]
        assert message in failing(demo, capsys, arguments)
    assert existing.read_bytes() == b"precious"
    arguments = ["--config-file", config, "--video-input", video, "--output", tmp_path / "a.mp4"]
    assert "codec" in failing(demo, capsys, [*arguments, "--codec", "!?!?"])


def test_unreadable_image_is_named_and_the_others_are_drawn(
    demo, fake, config, images, tmp_path, capsys
):
    (images / "broken.png").write_bytes(b"no picture")
    output = tmp_path / "out"
    arguments = ["--config-file", config, "--input", images, "--output", output]
    message = failing(demo, capsys, arguments)
    assert "1 of 4 images" in message
    assert "broken.png" in message
    assert len(list(output.iterdir())) == 3


def test_frames_of_different_sizes_are_an_error(demo, fake, config, images, tmp_path, capsys):
    cv2.imwrite(str(images / "img99.png"), np.zeros((32, 32, 3), np.uint8))
    arguments = ["--config-file", config, "--video-input", images, "--output", tmp_path / "o.mp4"]
    assert "one size" in failing(demo, capsys, arguments)


def test_missing_display_is_explained(demo, fake, config, video, images, capsys, monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    for source in (["--video-input", video], ["--input", images]):
        assert "--output" in failing(demo, capsys, ["--config-file", config, *source])


def test_configs_and_weights_that_cannot_be_used(demo, config, images, tmp_path, capsys):
    source = ["--input", images / "img1.png", "--output", tmp_path / "out.png"]
    arguments = ["--config-file", config, *source]
    for extra, message in (
        (["--opts", "MODEL.NUM_CLASES", "3"], "MODEL.NUM_CLASES"),
        (["--opts", "MODEL.META_ARCHITECTURE", "MobilInst"], "MobilInst"),
        (["--opts", "MODEL.WEIGHTS", tmp_path / "gone.pth"], "gone.pth"),
        (["--opts", "MODEL.WEIGHTS", config], "tiny.yaml"),
        (["--opts", "MODEL.BACKBONE.WEIGHTS", "gone.pth"], "MODEL.BACKBONE.WEIGHTS"),
    ):
        assert message in failing(demo, capsys, [*arguments, *extra])
    assert "gone.yaml" in failing(demo, capsys, ["--config-file", "gone.yaml", *source])
    assert not (tmp_path / "out.png").exists()


def test_model_that_cannot_track_is_refused(demo, config, video, tmp_path, capsys, monkeypatch):
    untrackable = SimpleNamespace(model=torch.nn.Identity())
    monkeypatch.setattr(demo, "load_predictor", lambda _: untrackable)
    arguments = ["--config-file", config, "--video-input", video, "--output", tmp_path / "o.mp4"]
    assert "cannot track" in failing(demo, capsys, arguments)
