"""Live tracking of all frames of a reader, in stages that overlap."""

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import NamedTuple

import numpy as np

from mobileinst_core.detections import Detections
from mobileinst_core.video.pipeline import AheadIterator
from mobileinst_core.video.readers import VideoFrame, VideoReader

from .keyframes import FramePrediction
from .online import OnlineTracker

__all__ = ["TrackedFrame", "tracked_frames"]

_PATIENCE = 4.0  # for cameras


class TrackedFrame(NamedTuple):
    """A frame and what was found on it.

    Attributes:
        frame: the frame.
        detections: its visible instances.
        prediction: what the network gave, for :class:`VideoTracks`.
        image_size: (H, W) of the network's image, without padding.
        seconds: how long each stage took: "read", and those of `OnlineTracker.timings`.
    """

    frame: VideoFrame
    detections: Detections
    prediction: FramePrediction
    image_size: tuple[int, int]
    seconds: Counter[str]


@contextmanager
def tracked_frames(reader: VideoReader, tracker: OnlineTracker) -> Iterator[Iterator[TrackedFrame]]:
    """Track the frames of a reader while the caller works on those before.

    One thread reads and prepares frames, another one runs the network and tracks; between two
    stages at most two frames wait. Results, order and errors are those of one loop over the reader.
    A live source is read in a thread anyway, and no frame of it waits longer than for the network.

    Args:
        reader: gives the frames.
        tracker: takes them; it is at the last tracked frame when the context ends.

    Yields:
        An iterator of the tracked frames, which raises what reading and tracking raise.
    """
    with ExitStack() as stack:
        prepared = _prepared(reader, tracker)
        if not reader.live:
            prepared = stack.enter_context(AheadIterator(prepared, name="reading"))
        # Behind a camera that hangs, tracking hangs, too.
        options = {"capacity": 1, "patience": _PATIENCE} if reader.live else {}
        tracked = AheadIterator(_tracked(prepared, tracker), name="tracking", **options)
        yield stack.enter_context(tracked)


_Prepared = tuple[VideoFrame, np.ndarray, Counter[str]]


def _prepared(reader: VideoReader, tracker: OnlineTracker) -> Iterator[_Prepared]:
    start = perf_counter()
    for frame in reader.frames():
        read = perf_counter()
        image = tracker.prepare(frame.pixels)
        prepared = perf_counter()
        yield frame, image, Counter(read=read - start, prepare=prepared - read)
        start = perf_counter()


def _tracked(frames: Iterator[_Prepared], tracker: OnlineTracker) -> Iterator[TrackedFrame]:
    for frame, image, seconds in frames:
        detections = tracker.step(frame.pixels, image=image)
        seconds.update(tracker.timings)
        yield TrackedFrame(frame, detections, tracker.prediction, tracker.image_size, seconds)
