"""Small videos, and a stand-in for OpenCV's source of frames."""

import cv2
import numpy as np

SIZE = (64, 48)  # width, height


def grey_frames(count, size=SIZE):
    return [np.full((size[1], size[0], 3), 10 + 8 * i, np.uint8) for i in range(count)]


def write_plain(path, frames, fps=12.5):
    """A video by OpenCV alone, so that reader and writer are not tested by each other only."""
    height, width = frames[0].shape[:2]
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"mp4v"), fps, (width, height))
    assert writer.isOpened()
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


def read_by_opencv(path):
    """All frames of a video, by another decoder than the project's."""
    return [frame for frame, _ in _read(path)]


def times_of(path):
    """When the frames of a video are shown, in seconds, by another reader than the project's."""
    return [time for _, time in _read(path)]


def duration_of(path):
    """The length of a video in seconds, from its container."""
    capture = cv2.VideoCapture(str(path))
    return capture.get(cv2.CAP_PROP_FRAME_COUNT) / capture.get(cv2.CAP_PROP_FPS)


def _read(path):
    capture = cv2.VideoCapture(str(path))
    assert capture.isOpened()
    while (item := capture.read())[0]:
        yield item[1], capture.get(cv2.CAP_PROP_POS_MSEC) / 1000


class FakeCapture:
    """Stands in for cv2.VideoCapture, which needs a device."""

    def __init__(self, *, opened=True, frames=(), fps=30.0):
        self.opened, self.frames, self.fps = opened, list(frames), fps
        self.released = False

    def isOpened(self):  # noqa: N802
        return self.opened

    def get(self, key):
        return self.fps if key == cv2.CAP_PROP_FPS else -1.0

    def grab(self):
        return bool(self.frames)

    def retrieve(self):
        return True, self.frames.pop(0)

    def release(self):
        self.released = True
