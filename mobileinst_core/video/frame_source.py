"""What all sources of frames have in common, for `VideoReader`."""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, Protocol

import numpy as np

__all__ = ["FrameSource", "SourceFrame", "source_name"]


class SourceFrame(NamedTuple):
    """A frame that is decoded only if it is asked for.

    Attributes:
        decode: to be called at once or never. It returns (H, W, 3) uint8 BGR, and raises
            VideoIOError if the frame is damaged.
        time: when it is shown, in seconds on the clock of the source; None = by the frame rate.
    """

    decode: Callable[[], np.ndarray]
    time: float | None = None


class FrameSource(Protocol):
    """Frames in order.

    Attributes:
        label: what to call it in messages.
        name: what to call files made of it.
        fps: frames per second as the source tells, which may be nonsense.
        fallback_fps: what to assume then.
        num_frames: how many frames it declares, right or wrong; None if it does not.
        live: frames come at their own pace, whether somebody takes them or not.
        names: names of the frames, different from each other; None if they have none.
    """

    label: str
    name: str
    fps: float
    fallback_fps: float
    num_frames: int | None
    live: bool
    names: Sequence[str] | None

    def frames(self) -> Iterator[SourceFrame]:
        """The frames, damaged ones included."""

    def close(self) -> None:
        """Release what was opened."""


def source_name(text: str) -> str:
    """What to call files made of a source whose name is this."""
    return re.sub(r"[^\w.-]+", "_", text) or "video"
