"""What is made of the tracked frames of a video: images to look at, and files."""

from dataclasses import dataclass
from typing import Any, Protocol

from mobileinst_core.detections import Detections

from .drawing import TrackVisualizer
from .id_maps import IdMapWriter
from .readers import VideoFrame, VideoReader
from .stage_timer import StageTimer
from .window import Window
from .writers import VideoWriter

__all__ = ["ResultsWriter", "TrackOutputs", "Tracked"]


class ResultsWriter(Protocol):
    """Collects what was predicted of each frame."""

    def fill(self, num_frames: int) -> None:
        """Count frames that were not predicted, up to a length of the video."""

    def add(self, prediction: Any, image_size: tuple[int, int]) -> None:
        """Take the next frame."""


class Tracked(Protocol):
    """A frame with its predictions, as tracking gives it."""

    frame: VideoFrame
    detections: Detections
    prediction: Any
    image_size: tuple[int, int]


@dataclass
class TrackOutputs:
    """Any of the outputs; None are left out.

    Frames that the reader skipped keep their place: a video shows the frame before until the
    time of the next, results show nothing, and there is no map of identities.

    Attributes:
        visualizer: draws the frames; needed for a window and for a video.
        window: shows them.
        video: takes them.
        maps: takes the identities per pixel.
        results: takes the predictions, for the results of the whole video.
        mark_keyframes: write on key frames that they are.
        num_shown: instances in all frames so far.
    """

    visualizer: TrackVisualizer | None = None
    window: Window | None = None
    video: VideoWriter | None = None
    maps: IdMapWriter | None = None
    results: ResultsWriter | None = None
    mark_keyframes: bool = False
    num_shown: int = 0
    _position: int = 0

    def write(self, tracked: Tracked, timer: StageTimer) -> bool:
        """Put out one frame.

        Args:
            tracked: the frame and what is tracked on it.
            timer: measures the stages "collect", "draw" and "write".

        Returns:
            False when the user asked to stop.

        Raises:
            VideoIOError: a file cannot be written.
        """
        frame, detections = tracked.frame, tracked.detections
        self.num_shown += len(detections)
        self._position = frame.position
        if self.results:
            with timer.measure("collect"):
                self.results.fill(frame.position - 1)
                self.results.add(tracked.prediction, tracked.image_size)
        if self.visualizer:
            with timer.measure("draw"):
                is_marked = self.mark_keyframes and tracked.prediction.is_keyframe
                drawn = self.visualizer.draw_instance_predictions(
                    frame.pixels, detections, mark="key frame" if is_marked else None
                )
        with timer.measure("write"):
            if self.maps:
                self.maps.write(frame.name, detections)
            if self.video:
                self.video.write(drawn, frame.time)
            return self.window is None or self.window.show(drawn)

    def finish(self, reader: VideoReader) -> None:
        """Account for frames that the reader, which is at its end, skipped there."""
        if self.results:
            self.results.fill(reader.position)
        if self.video and reader.position > self._position:
            self.video.hold(reader.position / reader.fps)
