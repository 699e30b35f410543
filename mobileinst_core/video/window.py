"""A window to look at frames in."""

import os
import sys

import cv2
import numpy as np

from .images import VideoIOError

__all__ = ["Window"]

_STOP_KEYS = (27, ord("q"))  # 27 is Escape
_POLL_MS = 50


class Window:
    """An OpenCV window that is there, or says at once why it cannot be."""

    def __init__(self, title: str) -> None:
        """Open a window of this title.

        Raises:
            VideoIOError: there is no display, or OpenCV was built without windows.
        """
        advice = "Give --output to write files instead."
        # Some OpenCV builds abort the whole process without a display, so look before.
        has_display = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
        if sys.platform.startswith("linux") and not has_display:
            raise VideoIOError(f"no window can be opened: there is no display. {advice}")
        try:
            cv2.namedWindow(title, cv2.WINDOW_NORMAL)
        except cv2.error as error:
            raise VideoIOError(
                "no window can be opened: this OpenCV is a headless build (the package "
                f"opencv-python has windows, opencv-python-headless has none). {advice}"
            ) from error
        self._title = title

    def show(self, image: np.ndarray, *, wait_for_key: bool = False) -> bool:
        """Show one image.

        Args:
            image: (H, W, 3) uint8, BGR.
            wait_for_key: return only after a key was pressed or the window was closed.

        Returns:
            False when the user asked to stop, with Escape, "q" or by closing the window.
        """
        cv2.imshow(self._title, image)
        while True:
            key = cv2.waitKey(_POLL_MS if wait_for_key else 1)
            closed = cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) < 1
            if closed or (key >= 0 and key & 0xFF in _STOP_KEYS):
                return False
            if key >= 0 or not wait_for_key:
                return True

    def close(self) -> None:
        """Close the window, if the user has not done so."""
        if cv2.getWindowProperty(self._title, cv2.WND_PROP_VISIBLE) >= 1:
            cv2.destroyWindow(self._title)

    def __enter__(self) -> "Window":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
