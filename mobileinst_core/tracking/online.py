"""Live tracking: one frame in, its visible instances out; or all frames of a reader, in threads."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from time import perf_counter
from typing import Any, NamedTuple

import cv2
import numpy as np

from mobileinst_core.detections import Detections
from mobileinst_core.postprocessing import PostProcessing
from mobileinst_core.video.pipeline import AheadIterator
from mobileinst_core.video.preparation import check_frame
from mobileinst_core.video.readers import VideoFrame, VideoReader

from .association import Tracker
from .keyframes import FramePrediction, KeyframeRunner, VideoNetwork
from .tracks import TrackManager

__all__ = ["OnlineTracker", "TrackedFrame", "scale_hysteresis", "tracked_frames"]

_THUMBNAIL_SIZE = (18, 32)
# Also before the first frame.
_ALWAYS_IN_STATE = {"frame_index", "since_keyframe", "tracks.next_id"}
# Seconds to wait for a step that is under way, where a camera hangs.
_PATIENCE = 4.0


class OnlineTracker:
    """Tracks instances through a stream, causally and in constant memory.

    The step from frames to tracks is that of :class:`OfflineTracker`; on top of it tracks become
    visible and hidden with hysteresis, and get identities that are never used again.

    Attributes:
        is_keyframe: the last frame went through the full network.
        frame_index: number of the last frame, from 0; -1 at the start.
        timings: seconds of the last step: "prepare", "network", "association" and "masks".
        prediction: the last frame, for :class:`VideoTracks`; None at the start.
        image_size: (H, W) of the network's image of the last frame, without padding.
    """

    def __init__(
        self,
        network: VideoNetwork,
        *,
        prepare: Callable[[np.ndarray], np.ndarray],
        clip_len: int = 1,
        tracker: Tracker | None = None,
        postprocessing: PostProcessing | None = None,
        score_on: float = 0.4,
        score_off: float = 0.2,
        max_lost: int = 30,
        max_instances: int = 20,
        smoothing: float = 0.8,
        class_margin: float = 0.1,
        scene_cut_threshold: float = 0.0,
    ) -> None:
        """Set up for a first stream.

        Args:
            network: predicts frames; it is given one at a time.
            prepare: maps a frame (H, W, 3) to the network's image (3, h, w), in [0, 255].
            clip_len: see :class:`KeyframeRunner`.
            tracker: likewise.
            postprocessing: its ``mask_threshold``, ``mask_rescore`` and ``procedure`` of resizing
                count; None = the default.
            score_on: see :class:`TrackManager`.
            score_off: likewise.
            max_lost: likewise.
            max_instances: instances per frame at most, best first.
            smoothing: see :class:`TrackManager`.
            class_margin: likewise.
            scene_cut_threshold: a frame becomes a key frame when its grey thumbnail of 32x18
                pixels differs from that of the frame before by more than this on average, in grey
                levels of 255; 0 = never.

        Raises:
            ValueError: if an option is out of range.
        """
        if scene_cut_threshold < 0:
            raise ValueError(f"scene_cut_threshold is {scene_cut_threshold}, it must be at least 0")
        if max_instances < 1:
            raise ValueError(f"max_instances is {max_instances}, it must be at least 1")
        self.runner = KeyframeRunner(network, clip_len=clip_len, tracker=tracker)
        self.tracks = TrackManager(
            score_on=score_on,
            score_off=score_off,
            max_lost=max_lost,
            smoothing=smoothing,
            class_margin=class_margin,
        )
        self.prepare = prepare
        self.postprocessing = postprocessing or PostProcessing()
        self.max_instances = max_instances
        self.scene_cut_threshold = scene_cut_threshold
        self.reset()

    def reset(self) -> None:
        """Start a new stream. Identities start at 1 again."""
        self.runner.reset()
        self.tracks.reset()
        self.frame_index = -1
        self._thumbnail: np.ndarray | None = None  # of the last frame, if scene cuts are detected
        self._forget_last_step()

    def step(
        self,
        frame: np.ndarray,
        *,
        force_keyframe: bool = False,
        image: np.ndarray | None = None,
    ) -> Detections:
        """Track the next frame.

        A step that fails before the masks are made, for instance in the network, changes nothing:
        the stream continues with the next frame.

        Args:
            frame: (H, W, 3), uint8, BGR as OpenCV reads it. The size may change in mid-stream.
            force_keyframe: run the full network, whatever the schedule says.
            image: what ``prepare`` makes of the frame, where that was done before.

        Returns:
            The visible instances, best first, with identities.

        Raises:
            ValueError: if the frame is not an (H, W, 3) uint8 array, for instance None, which is
                what OpenCV reads at the end of a video.
        """
        check_frame(frame)
        start = perf_counter()
        if image is None:
            image = self.prepare(frame)
        thumbnail = _thumbnail(image) if self.scene_cut_threshold else None
        force_keyframe = force_keyframe or self._is_scene_cut(thumbnail)
        prepared = perf_counter()
        prediction = self.runner([image], force_keyframe=force_keyframe)[0]
        stepped = perf_counter()
        self._thumbnail = thumbnail
        self.frame_index += 1
        self.prediction, self.image_size = prediction, tuple(image.shape[-2:])
        detections = self._show(prediction, frame.shape[:2])
        self.timings = {"prepare": prepared - start, **self.runner.timings}
        self.timings["masks"] += perf_counter() - stepped
        return detections

    @property
    def is_keyframe(self) -> bool:
        """Whether the last frame went through the full network."""
        return self.prediction is not None and self.prediction.is_keyframe

    def ids_alive(self) -> list[int]:
        """Identities that are visible or can become so again, in ascending order."""
        return self.tracks.ids_alive()

    def state_dict(self) -> dict[str, np.ndarray | int]:
        """All that the next frames depend on, of a size independent of the stream's length.

        It holds arrays and numbers only, for instance for ``numpy.savez``.
        """
        state = {f"tracks.{name}": x for name, x in self.tracks.state_dict().items()}
        if self._thumbnail is not None:
            state["thumbnail"] = self._thumbnail
        return {**self.runner.state_dict(), **state, "frame_index": self.frame_index}

    def load_state_dict(self, state: Mapping[str, np.ndarray | int]) -> None:
        """Resume where another stream stopped, with the same network and association.

        Args:
            state: what :meth:`state_dict` gave.

        Raises:
            ValueError: if it is not the state of a stream, or of another kind of association;
                nothing has changed then. That it is of another network shows at the next key frame.
        """
        if missing := _ALWAYS_IN_STATE - state.keys():
            raise ValueError(f"this is no state of a stream: it lacks {', '.join(sorted(missing))}")
        self.runner.load_state_dict(state)
        prefix = "tracks."
        self.tracks.load_state_dict(
            {k.removeprefix(prefix): x for k, x in state.items() if k.startswith(prefix)}
        )
        self.frame_index = int(state["frame_index"])
        self._thumbnail = state.get("thumbnail")
        self._forget_last_step()

    def _forget_last_step(self) -> None:
        self.prediction: FramePrediction | None = None
        self.image_size: tuple[int, int] | None = None
        self.timings: dict[str, float] = {}

    def _is_scene_cut(self, thumbnail: np.ndarray | None) -> bool:
        if thumbnail is None or self._thumbnail is None:
            return False
        return bool(np.abs(thumbnail - self._thumbnail).mean() > self.scene_cut_threshold)

    def _show(self, frame: FramePrediction, output_size: tuple[int, int]) -> Detections:
        """The visible instances of a frame, with masks of its size (H, W)."""
        masks = None
        if frame.is_keyframe:
            scores = frame.scores
            if self.postprocessing.mask_rescore:
                # The mask score only lowers scores. Tracks that stay hidden anyway go without.
                candidates = self.tracks.candidates(scores)
                masks = frame.masks(self.postprocessing, candidates)
                scores = scores.copy()
                scores[candidates] *= masks.quality()[:, None]
            self.tracks.update(scores)
        tracks = self.tracks.visible(self.max_instances)
        if masks is None:
            candidates = np.sort(tracks)
            masks = frame.masks(self.postprocessing, candidates)
        numbers = np.searchsorted(candidates, tracks)
        pasted = masks.paste(numbers, self.image_size, output_size)
        shown = self.tracks.show(tracks[pasted.shown])
        return Detections(masks=pasted.masks, boxes=pasted.boxes, **shown)


def scale_hysteresis(streaming: Mapping[str, Any], score_on: float) -> dict[str, Any]:
    """Let tracks of a stream appear at another score.

    Args:
        streaming: options of :class:`OnlineTracker`.
        score_on: the score, in [0, 1].

    Returns:
        A changed copy. ``score_off`` keeps its ratio to ``score_on``, as the distance between
        appearing and vanishing keeps tracks from flickering.
    """
    before = streaming["score_on"]
    share = streaming["score_off"] / before if before > 0 else 1.0
    return {**streaming, "score_on": score_on, "score_off": score_on * share}


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


def _thumbnail(image: np.ndarray) -> np.ndarray:
    """The grey levels of an image (3, h, w), averaged into a few pixels, (18, 32) float32."""
    grey = np.asarray(image).mean(axis=0, dtype=np.float32)
    sums = cv2.integral(grey, sdepth=cv2.CV_64F)
    (top, bottom), (left, right) = (
        _bins(*lengths) for lengths in zip(grey.shape, _THUMBNAIL_SIZE, strict=True)
    )
    sums = sums[bottom] - sums[top]
    sums = sums[:, right] - sums[:, left]
    areas = (bottom - top)[:, None] * (right - left)
    return (sums / areas).astype(np.float32)


def _bins(length: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    """First rows of so many bins that cover an axis, and the ones after their last."""
    steps = np.arange(count + 1) * length
    return steps[:-1] // count, -(-steps[1:] // count)
