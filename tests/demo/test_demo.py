"""The demo as its users call it: what comes out, and what they read when it goes wrong."""

import importlib.util
import logging
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from detectron2.modeling import build_model
from detectron2.structures import Instances

from mobileinst_d2.utils.classes import save_class_names
from mobileinst_d2.utils.visualizer import instance_color

SCRIPT = Path(__file__).parents[2] / "demo" / "demo.py"
WIDTH, HEIGHT, FRAMES, FPS = 96, 64, 7, 12.5
SQUARE = 16

TINY = """
_BASE_: {toy}
MODEL: {{DEVICE: cpu, NUM_CLASSES: 3}}
DATASETS: {{TEST: [demo_test_unknown]}}
"""


@pytest.fixture(scope="module")
def demo():
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("mobileinst_demo", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(autouse=True)
def _quiet(demo, monkeypatch):
    # setup_logger changes loggers for the whole process, and so for other tests.
    monkeypatch.setattr(demo, "setup_logger", lambda **_: None)
    monkeypatch.setattr(logging.getLogger("mobileinst_d2"), "propagate", True)


@pytest.fixture
def config(tmp_path, repository):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.format(toy=repository / "configs" / "toy" / "shapes_image.yaml"))
    return str(path)


def moving_square(index):
    """A grey frame with a white square that moves to the right."""
    frame = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    frame[30 : 30 + SQUARE, 8 * index : 8 * index + SQUARE] = 255
    return frame


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    for index in range(FRAMES):
        writer.write(moving_square(index))
    writer.release()
    return str(path)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in (2, 10, 1):
        cv2.imwrite(str(folder / f"img{index}.png"), moving_square(index % 8))
    return folder


def find_square(frame, *, identity=None, score=0.9):
    """What a perfect model would find."""
    mask = torch.as_tensor(frame.min(axis=2) > 150)[None]
    instances = Instances(frame.shape[:2], pred_masks=mask)
    instances.scores = torch.tensor([score])
    instances.pred_classes = torch.tensor([1])
    if identity is not None:
        instances.ID = [identity]
    return instances


@pytest.fixture
def fake(demo, monkeypatch):
    """Replace the network, and record how it was built."""

    class Fake:
        threshold = None
        frames = 0
        score = 0.9
        stop_at = None

        def step(self, frame):
            if self.frames == self.stop_at:
                raise KeyboardInterrupt
            self.frames += 1
            return find_square(frame, identity=5)

    state = Fake()

    def build_video(_cfg, threshold):
        state.threshold = threshold
        return state

    monkeypatch.setattr(demo, "build_video_predictor", build_video)
    monkeypatch.setattr(
        demo, "build_image_predictor", lambda _: lambda frame: find_square(frame, score=state.score)
    )
    return state


def read_all(path):
    capture = cv2.VideoCapture(str(path))
    fps = capture.get(cv2.CAP_PROP_FPS)
    frames = []
    while (item := capture.read())[0]:
        frames.append(item[1])
    return frames, fps


# ---- what comes out ----


def test_video_keeps_count_rate_and_size_and_shows_the_track(demo, fake, config, video, tmp_path):
    output = tmp_path / "out.mp4"
    arguments = ["--config-file", config, "--video-input", video, "--output", str(output)]
    assert demo.main(arguments) == 0
    frames, fps = read_all(output)
    assert len(frames) == FRAMES == fake.frames
    assert fps == pytest.approx(FPS)
    assert fake.threshold == 0.4
    expected = 0.5 * 255 + 0.5 * np.array(instance_color(5))
    for index, frame in enumerate(frames):
        assert frame.shape == (HEIGHT, WIDTH, 3)
        center = frame[36:40, 8 * index + 6 : 8 * index + 10].reshape(-1, 3).mean(axis=0)
        assert np.abs(center - expected).max() < 25


def test_video_into_a_folder_takes_the_name_of_the_input(demo, fake, config, video, tmp_path):
    output = tmp_path / "results"
    arguments = ["--config-file", config, "--video-input", video, "--output", str(output)]
    assert demo.main(arguments) == 0
    assert [path.name for path in output.iterdir()] == ["clip.mp4"]


def test_folder_of_frames_is_a_video_too(demo, fake, config, images, tmp_path):
    output = tmp_path / "out.avi"
    arguments = ["--config-file", config, "--video-input", str(images), "--output", str(output)]
    assert demo.main([*arguments, "--fps", "5"]) == 0
    frames, fps = read_all(output)
    assert len(frames) == 3
    assert fps == pytest.approx(5)


def test_each_image_gives_one_drawn_image(demo, fake, config, images, tmp_path):
    output = tmp_path / "out"
    arguments = ["--config-file", config, "--input", str(images), "--output", str(output)]
    assert demo.main(arguments) == 0
    assert {path.name for path in output.iterdir()} == {"img1.png", "img2.png", "img10.png"}
    drawn = cv2.imread(str(output / "img1.png"))
    assert drawn.shape == (HEIGHT, WIDTH, 3)
    assert not np.array_equal(drawn[36, 16], moving_square(1)[36, 16])


@pytest.mark.parametrize(("threshold", "shown"), [("0.95", False), ("0.85", True), ("0", True)])
def test_threshold_decides_what_is_drawn(demo, fake, config, images, tmp_path, threshold, shown):
    source, output = images / "img1.png", tmp_path / "out.png"
    arguments = ["--config-file", config, "--input", str(source), "--output", str(output)]
    assert demo.main([*arguments, "--confidence-threshold", threshold]) == 0
    assert np.array_equal(cv2.imread(str(output)), cv2.imread(str(source))) != shown


def test_several_images_and_a_glob(demo, fake, config, images, tmp_path):
    sources = [str(images / "img2.png"), str(images / "img1*.png")]
    arguments = ["--config-file", config, "--output", str(tmp_path / "out"), "--input", *sources]
    assert demo.main(arguments) == 0
    assert len(list((tmp_path / "out").iterdir())) == 3


def test_window_shows_every_frame_until_the_user_stops(demo, fake, config, video, monkeypatch):
    shown = []

    class FakeWindow:
        def __init__(self, title):
            pass

        def show(self, image, *, wait_for_key=False):
            shown.append(image)
            return len(shown) < 4

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(demo, "Window", FakeWindow)
    assert demo.main(["--config-file", config, "--video-input", video]) == 0
    assert len(shown) == 4


def test_camera_is_tracked_into_a_file(demo, fake, config, tmp_path, monkeypatch):
    frames = [moving_square(index) for index in range(4)]

    class Camera:
        def isOpened(self):  # noqa: N802
            return True

        def get(self, _key):
            return 0.0

        def read(self):
            return (True, frames.pop(0)) if frames else (False, None)

        def release(self):
            pass

    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda src: Camera() if src == 3 else real(src))
    arguments = ["--config-file", config, "--webcam", "3", "--output", str(tmp_path / "out")]
    assert demo.main(arguments) == 0
    drawn, fps = read_all(tmp_path / "out" / "camera3.mp4")
    assert len(drawn) == 4
    assert fps == pytest.approx(25)


def test_interrupt_keeps_what_was_done(demo, fake, config, video, tmp_path, capsys):
    fake.stop_at = 3
    output = tmp_path / "out.mp4"
    arguments = ["--config-file", config, "--video-input", video, "--output", str(output)]
    assert demo.main(arguments) == 130
    assert len(read_all(output)[0]) == 3
    assert "Interrupted" in capsys.readouterr().err


# ---- what goes wrong ----


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
    ):
        assert message in failing(demo, capsys, [*arguments, *extra])
    assert "gone.yaml" in failing(demo, capsys, ["--config-file", "gone.yaml", *source])
    assert not (tmp_path / "out.png").exists()


def test_model_that_cannot_track_is_refused(demo, config, video, tmp_path, capsys, monkeypatch):
    untrackable = SimpleNamespace(model=torch.nn.Identity())
    monkeypatch.setattr(demo, "load_predictor", lambda _: untrackable)
    arguments = ["--config-file", config, "--video-input", video, "--output", tmp_path / "o.mp4"]
    assert "cannot track" in failing(demo, capsys, arguments)


# ---- with a real, random network ----


def test_random_model_tracks_a_video_and_says_that_it_is_random(
    demo, config, video, tmp_path, caplog
):
    output = tmp_path / "out.mp4"
    arguments = ["--config-file", config, "--video-input", video, "--output", str(output)]
    options = ["--confidence-threshold", "0", "--opts", "TEST.TRACKING.CLIP_LEN", "3"]
    with caplog.at_level(logging.WARNING):
        assert demo.main([*arguments, *options]) == 0
    assert "RANDOM" in caplog.text
    frames, fps = read_all(output)
    assert len(frames) == FRAMES
    assert fps == pytest.approx(FPS)


def test_saved_weights_and_names_are_used(demo, config, images, tmp_path, caplog, monkeypatch):
    cfg = demo.setup_cfg(config, [])
    weights = tmp_path / "run" / "model_final.pth"
    weights.parent.mkdir()
    torch.save({"model": build_model(cfg).state_dict()}, weights)
    save_class_names(weights.parent, ["red", "green", "blue"])
    written = []
    monkeypatch.setattr(cv2, "putText", lambda _image, text, *_rest: written.append(text))
    arguments = ["--config-file", config, "--input", str(images / "img1.png")]
    options = ["--confidence-threshold", "0", "--opts", "MODEL.WEIGHTS", str(weights)]
    options += ["TEST.SCORE_THRESHOLD", "0.0", "TEST.MASK_RESCORE", "False"]
    drawn = []
    for name in ("a.png", "b.png"):
        with caplog.at_level(logging.WARNING):
            assert demo.main([*arguments, "--output", str(tmp_path / name), *options]) == 0
        drawn.append(cv2.imread(str(tmp_path / name)))
    assert "RANDOM" not in caplog.text
    assert written
    assert all(text.split()[0] in {"red", "green", "blue"} for text in written)
    # The same weights give the same picture; random ones would not.
    assert np.array_equal(*drawn)


def test_script_prints_its_help():
    result = subprocess.run(
        [sys.executable, str(SCRIPT), "--help"], capture_output=True, text=True, check=True
    )
    for option in ("--input", "--video-input", "--webcam", "--output", "--opts"):
        assert option in result.stdout
