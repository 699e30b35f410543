"""What is made of the tracked frames of a video: images to look at, and files."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from mobileinst_core.detections import Detections

from .drawing import TrackVisualizer
from .readers import VideoReader
from .stage_timer import StageTimer
from .window import Window
from .writers import IdMapWriter, VideoWriter

__all__ = ["ResultsWriter", "TrackOutputs"]


class ResultsWriter(Protocol):
    """Collects what was predicted of each frame."""

    def fill(self, num_frames: int) -> None:
        """Count frames that were not predicted, up to a length of the video."""

    def add(self, prediction: Any, image_size: tuple[int, int]) -> None:
        """Take the next frame."""


@dataclass
class TrackOutputs:
    """Any of the outputs; None are left out.

    Frames that the reader passed over keep their place: a video repeats the frame before, results
    show nothing, and there is no map of identities.

    Attributes:
        visualizer: draws the frames; needed for a window and for a video.
        window: shows them.
        video: takes them.
        maps: takes the identities per pixel.
        results: takes the predictions, for the results of the whole video.
        mark_keyframes: write on key frames that they are.
    """

    visualizer: TrackVisualizer | None = None
    window: Window | None = None
    video: VideoWriter | None = None
    maps: IdMapWriter | None = None
    results: ResultsWriter | None = None
    mark_keyframes: bool = False

    def write(
        self,
        reader: VideoReader,
        frame: np.ndarray,
        detections: Detections,
        tracker: Any,
        timer: StageTimer,
    ) -> bool:
        """Put out one frame.

        Args:
            reader: where it comes from.
            frame: (H, W, 3) uint8, BGR.
            detections: what is tracked on it.
            tracker: an `OnlineTracker` after it.
            timer: measures the stages "collect", "draw" and "write".

        Returns:
            False when the user asked to stop.

        Raises:
            VideoIOError: a file cannot be written.
        """
        if self.results:
            with timer.measure("collect"):
                self.results.fill(reader.position - 1)
                self.results.add(tracker.prediction, tracker.image_size)
        if self.visualizer:
            with timer.measure("draw"):
                mark = "key frame" if self.mark_keyframes and tracker.is_keyframe else None
                drawn = self.visualizer.draw_instance_predictions(frame, detections, mark=mark)
        with timer.measure("write"):
            if self.maps:
                self.maps.write(reader.frame_name, detections)
            if self.video:
                self.video.fill(reader.position - 1)
                self.video.write(drawn)
            return self.window is None or self.window.show(drawn)

    def finish(self, reader: VideoReader) -> None:
        """Account for frames that the reader passed over at the end.

        Args:
            reader: the source, at its end.
        """
        for output in (self.video, self.results):
            if output:
                output.fill(reader.position)
