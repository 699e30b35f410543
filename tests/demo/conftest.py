"""Fixtures of the demo's tests: the script as a module, small inputs, a perfect model."""

import importlib.util
import logging
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from detectron2.structures import Boxes, Instances
from pycocotools import mask as mask_util

from mobileinst_d2.engine.predictor import Predictor

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
    folder = tmp_path / "pictures"
    folder.mkdir()
    for index in (2, 10, 1):
        cv2.imwrite(str(folder / f"img{index}.png"), _moving_square(index % 8))
    return folder


def find_square(frame, *, identity=None, score=0.9):
    """What a perfect model would find."""
    mask = torch.as_tensor(frame.min(axis=2) > 150)[None]
    instances = Instances(frame.shape[:2], pred_masks=mask)
    instances.pred_boxes = Boxes(torch.zeros(1, 4))
    instances.scores = torch.tensor([score])
    instances.pred_classes = torch.tensor([1])
    if identity is not None:
        instances.ID = [identity]
    return instances


class FakeTracks:
    """Says of each frame whether it was predicted."""

    def __init__(self):
        self.frames = []

    def add(self, prediction):
        self.frames.append(prediction)

    def result(self, image_size, output_size):
        assert image_size == output_size == (HEIGHT, WIDTH)
        full = mask_util.encode(np.ones((HEIGHT, WIDTH), np.uint8, order="F"))
        track = [None if frame is None else full for frame in self.frames]
        return {"pred_scores": [0.5], "pred_labels": [1], "pred_rles": [track]}


class FakeCamera:
    """Stands in for cv2.VideoCapture of a device."""

    def __init__(self, frames):
        self.frames = list(frames)
        self.exhausted = threading.Event()
        self.released = False

    def isOpened(self):  # noqa: N802
        return True

    def get(self, _key):
        return 0.0

    def grab(self):
        if not self.frames:
            self.exhausted.set()
        return bool(self.frames)

    def retrieve(self):
        return True, self.frames.pop(0)

    def release(self):
        self.released = True


@pytest.fixture
def camera(monkeypatch):
    """Camera 3, with six frames before it breaks off."""
    camera = FakeCamera(_moving_square(index) for index in range(6))
    real = cv2.VideoCapture
    monkeypatch.setattr(cv2, "VideoCapture", lambda src: camera if src == 3 else real(src))
    return camera


@pytest.fixture
def window(demo, monkeypatch):
    """A window in which the user presses Escape after `stop_after` pictures."""

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
def fake(demo, monkeypatch):
    """Replace the network, and record how it was built."""

    class Fake:
        threshold = None
        frames = 0
        score = 0.9
        stop_at = None
        image_size = (HEIGHT, WIDTH)
        prediction = None
        is_keyframe = False
        timings: dict = {}  # noqa: RUF012
        model = None

        def __call__(self, frame):
            return {"instances": find_square(frame, score=self.score)}

        def class_names(self):
            return self.loaded.class_names()

        def category_ids(self):
            return self.loaded.category_ids()

        def step(self, frame):
            if self.frames == self.stop_at:
                raise KeyboardInterrupt
            self.prediction, self.is_keyframe = frame, self.frames % 3 == 0
            self.frames += 1
            return find_square(frame, identity=5)

    state = Fake()

    def load(cfg, *_):
        state.loaded = Predictor(cfg, None)
        return state

    def build_video(cfg, _, threshold):
        state.threshold = threshold
        state.clip_len = cfg.TEST.TRACKING.CLIP_LEN
        state.tracks = FakeTracks()
        return state, state.tracks

    monkeypatch.setattr(demo, "build_video_predictor", build_video)
    monkeypatch.setattr(demo, "load_predictor", load)
    return state
