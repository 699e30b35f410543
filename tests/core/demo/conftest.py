"""Fixtures of the demo's tests: small inputs, a perfect model."""

import threading
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from pycocotools import mask as mask_util
from small_videos import FakeCapture

from mobileinst_core import demo as demo_module
from mobileinst_core.detections import Detections
from mobileinst_core.tracking.offline import ChosenTrack
from mobileinst_d2.engine import predictor as predictor_module

WIDTH, HEIGHT, FRAMES, FPS = 96, 64, 7, 12.5
SQUARE = 16

TINY = """
_BASE_: {toy}
MODEL: {{DEVICE: cpu, NUM_CLASSES: 3}}
DATASETS: {{TEST: [demo_test_unknown]}}
"""


@pytest.fixture(scope="module")
def demo():
    return demo_module


@pytest.fixture(autouse=True)
def _quiet(demo, monkeypatch):
    # It changes loggers for the whole process, and so for other tests.
    monkeypatch.setattr(demo, "set_up_logging", lambda: None)


@pytest.fixture
def config(tmp_path, repository):
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY.format(toy=repository / "configs" / "toy" / "shapes_image.yaml"))
    return str(path)


@pytest.fixture
def run(demo, config):
    """Run the demo with the config; returns its status."""
    return lambda *arguments: demo.main(["--config-file", config, *map(str, arguments)])


@pytest.fixture
def failing(run, capsys):
    """Run the demo, which must fail in the way meant for users; returns the message."""

    def run_and_fail(*arguments):
        assert run(*arguments) == 1
        message = capsys.readouterr().err
        assert "error: " in message
        assert "Traceback" not in message
        return message

    return run_and_fail


@pytest.fixture
def written(monkeypatch):
    """The texts that are drawn."""
    texts = []
    monkeypatch.setattr(cv2, "putText", lambda _image, text, *_rest: texts.append(text))
    return texts


@pytest.fixture(scope="session")
def moving_square():
    """Frames by index: a white square on grey that moves to the right."""
    return _moving_square


def _moving_square(index):
    frame = np.full((HEIGHT, WIDTH, 3), 60, np.uint8)
    frame[30 : 30 + SQUARE, 8 * index : 8 * index + SQUARE] = 255
    return frame


@pytest.fixture
def video(tmp_path):
    path = tmp_path / "clip.mp4"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), FPS, (WIDTH, HEIGHT))
    for index in range(FRAMES):
        writer.write(_moving_square(index))
    writer.release()
    return str(path)


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "images"
    folder.mkdir()
    for index in (2, 10, 1):
        cv2.imwrite(str(folder / f"img{index}.png"), _moving_square(index % 8))
    return folder


def find_square(frame, *, identity=None, score=0.9):
    """What a perfect model would find."""
    mask = frame.min(axis=2) > 150
    x, y, width, height = cv2.boundingRect(mask.view(np.uint8))
    return Detections(
        masks=mask[None],
        boxes=np.array([[x, y, x + width, y + height]], np.float32),
        scores=np.array([score], np.float32),
        classes=np.array([1]),
        ids=None if identity is None else np.array([identity]),
    )


class FakeTracks:
    """Says of each frame whether it was predicted."""

    def __init__(self):
        self.frames = []

    def add(self, prediction):
        self.frames.append(prediction)

    def chosen(self, image_size, output_size):
        assert image_size == output_size == (HEIGHT, WIDTH)
        full = mask_util.encode(np.ones((HEIGHT, WIDTH), np.uint8, order="F"))
        masks = [None if frame is None else full for frame in self.frames]
        yield ChosenTrack(0.5, 1, 0, iter([masks[:2], masks[2:]]))


class FakeCamera(FakeCapture):
    """A device that tells no rate, and when it has given all its frames."""

    def __init__(self, frames):
        super().__init__(frames=frames, fps=0.0)
        self.exhausted = threading.Event()

    def grab(self):
        if not self.frames:
            self.exhausted.set()
        return super().grab()


@pytest.fixture
def camera(monkeypatch):
    """Camera 3, with six frames before it breaks off."""
    camera = FakeCamera(_moving_square(index) for index in range(6))
    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda src: camera if src == 3 else real(src))
    return camera


@pytest.fixture
def window(demo, monkeypatch):
    """A window in which the user presses Escape after `stop_after` images."""

    class FakeWindow:
        stop_after = None
        shown: list = []  # noqa: RUF012

        def __init__(self, title):
            FakeWindow.shown = []

        def show(self, image, *, wait_for_key=False):
            self.shown.append(image)
            return len(self.shown) != FakeWindow.stop_after

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

    monkeypatch.setattr(demo, "Window", FakeWindow)
    return FakeWindow


@pytest.fixture
def fake(monkeypatch):
    """Replace the network, and record how it was built."""

    class Fake(predictor_module.Predictor):
        """A model and its tracker in one."""

        threshold = None
        frames = 0
        score = 0.9
        stop_at = None
        is_blind = False
        image_size = (HEIGHT, WIDTH)
        prediction = None
        frame_index = -1
        tracks = SimpleNamespace(best_score=0.125)
        timings: dict = {}  # noqa: RUF012

        def __init__(self):
            pass  # until there is a config

        def predict(self, image):
            return find_square(image, score=self.score)

        def online_tracker(self, score_on=None):
            self.threshold = score_on
            return self

        def offline_tracker(self):
            return self

        def new_video(self, folder):
            return FakeTracks()

        def prepare(self, frame):
            return frame

        def step(self, frame, *, image):
            if self.frames == self.stop_at:
                raise KeyboardInterrupt
            self.prediction = SimpleNamespace(is_keyframe=self.frames % 3 == 0)
            self.frames += 1
            self.frame_index += 1
            found = find_square(frame, identity=5)
            return found[: 0 if self.is_blind else 1]

    state = Fake()

    def load(cfg):
        predictor_module.Predictor.__init__(state, cfg, None)
        state.clip_len = cfg.TEST.TRACKING.CLIP_LEN
        return state

    monkeypatch.setattr(predictor_module, "load_predictor", load)
    return state
