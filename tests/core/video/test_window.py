"""The window, with OpenCV's own replaced: tests run where there is no display."""

import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest

from mobileinst_core.video.images import VideoIOError
from mobileinst_core.video.window import Window

FRAME = np.zeros((4, 4, 3), np.uint8)


@pytest.fixture
def screen(monkeypatch):
    """A fake of OpenCV's window functions: keys to press, and whether the window is open."""

    state = SimpleNamespace(keys=[], visible=1.0, shown=0)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", lambda *_: None)
    monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: state.visible)
    monkeypatch.setattr(cv2, "waitKey", lambda _: state.keys.pop(0) if state.keys else -1)
    monkeypatch.setattr(cv2, "destroyWindow", lambda _: setattr(state, "visible", 0.0))
    monkeypatch.setattr(cv2, "imshow", lambda *_: setattr(state, "shown", state.shown + 1))
    return state


def test_frames_go_on_until_a_stop_key(screen):
    with Window("demo") as window:
        screen.keys = [-1, ord("x"), 27]
        assert [window.show(FRAME) for _ in range(3)] == [True, True, False]
        screen.keys = [ord("q")]
        assert not window.show(FRAME)
    assert screen.shown == 4
    assert screen.visible == 0.0


def test_waiting_ends_with_a_key(screen):
    window = Window("demo")
    screen.keys = [-1, -1, ord(" "), 27]
    assert window.show(FRAME, wait_for_key=True)
    assert screen.keys == [27]


def test_closing_the_window_stops(screen):
    window = Window("demo")
    screen.visible = 0.0
    assert not window.show(FRAME)
    assert not window.show(FRAME, wait_for_key=True)
    window.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="displays are named on Linux")
def test_missing_display_is_explained(monkeypatch):
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(VideoIOError, match=r"no display.*--output"):
        Window("demo")


def test_headless_build_is_explained(monkeypatch):
    def fail(*_):
        raise cv2.error("The function is not implemented")

    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(cv2, "namedWindow", fail)
    with pytest.raises(VideoIOError, match=r"headless build.*--output"):
        Window("demo")
