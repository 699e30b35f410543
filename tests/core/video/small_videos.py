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
