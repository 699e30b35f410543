"""Tracks of whole videos: frames are pulled lazily, masks are kept small."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from mobileinst_core.masks.resize import logit, sigmoid
from mobileinst_core.options import check_option
from mobileinst_core.postprocessing import LABEL_RULES, PostProcessing

from .association import Tracker
from .kept_masks import KeptMasks
from .keyframes import FramePrediction, KeyframeRunner, VideoNetwork

__all__ = ["ChosenTrack", "OfflineTracker", "VideoTracks"]

_SCORE_POOLS = ("prob_mean", "logit_mean", "max")
# Scores of exactly 0 or 1 have no finite logit.
_LOGIT_EPS = 1e-6
# Probabilities round; what is this close to the threshold counts as foreground.
_LOGIT_MARGIN = 1e-3
# Masks of a frame that are kept, for each track that may be reported in the end.
_KEPT_PER_REPORTED = 3


class OfflineTracker:
    """Predicts whole videos.

    The same formulas as for images are used, so a video of one frame gives the image's instances.
    Memory is that of one chunk of frames, and that of :class:`VideoTracks`.
    """

    def __init__(
        self,
        network: VideoNetwork,
        *,
        clip_len: int = 1,
        tracker: Tracker | None = None,
        postprocessing: PostProcessing | None = None,
        score_pool: str = "prob_mean",
        labels_per_track: str = "best",
        presence_threshold: float = 0.0,
        chunk: int = 8,
    ) -> None:
        """Set up.

        Args:
            network: predicts frames.
            clip_len: see :class:`KeyframeRunner`.
            tracker: likewise.
            postprocessing: see :class:`VideoTracks`.
            score_pool: likewise.
            labels_per_track: likewise.
            presence_threshold: likewise.
            chunk: frames that go through the network together.

        Raises:
            ValueError: if an option is unknown or out of range.
        """
        if chunk < 1:
            raise ValueError(f"chunk is {chunk}, it must be at least 1")
        self.runner = KeyframeRunner(network, clip_len=clip_len, tracker=tracker)
        self.postprocessing = postprocessing or PostProcessing(max_detections=10)
        self.score_pool = score_pool
        self.labels_per_track = labels_per_track
        self.presence_threshold = presence_threshold
        self.chunk = chunk
        self.new_video()  # checks the options

    def predict(self, frames: Iterable[Any], output_size: tuple[int, int]) -> dict:
        """Track the instances of one video.

        Args:
            frames: images (3, H, W) in [0, 255], all of one size. They are taken one chunk at a
                time and in one pass, so they may come from a generator.
            output_size: (H, W) of the masks to return.

        Returns:
            See :meth:`VideoTracks.result`.

        Raises:
            ValueError: if the video has no frame, or frames differ in size.
        """
        self.runner.reset()
        tracks = self.new_video()
        # Data sets of PyTorch need not end when they are iterated.
        frames = islice(frames, len(frames)) if hasattr(frames, "__len__") else iter(frames)
        image_size: tuple[int, int] | None = None
        chunk, taken = self.chunk, 0
        # Pulled frames that have not been predicted; only this list holds them.
        waiting: list[Any] = []
        while waiting or (waiting := list(islice(frames, chunk))):
            image_size = image_size or tuple(waiting[0].shape[-2:])
            _check_sizes(waiting, image_size, taken)
            predictions = self._run(waiting[:chunk])
            if predictions is None:
                chunk = min(chunk, len(waiting)) // 2
                continue
            for prediction in predictions:
                tracks.add(prediction)
            taken += len(predictions)
            del waiting[: len(predictions)]
        return tracks.result(image_size, output_size)

    def new_video(self, folder: Path | None = None) -> "VideoTracks":
        """What makes tracks of the frames of a video, where another loop predicts them.

        Args:
            folder: see :class:`VideoTracks`.
        """
        return VideoTracks(
            folder=folder,
            postprocessing=self.postprocessing,
            score_pool=self.score_pool,
            labels_per_track=self.labels_per_track,
            presence_threshold=self.presence_threshold,
        )

    def _run(self, frames: Sequence[Any]) -> list[FramePrediction] | None:
        """Predict the next frames; None if there is no memory for so many together."""
        return self.runner(frames)


class VideoTracks:
    """Takes the frames of one video as they are predicted, and chooses its tracks at the end.

    Of each frame the mask logits around foreground are kept: 256 MiB in memory, and what is more in
    a temporary file. They are those of the tracks with the best scores in the frame, three for each
    that may be reported; a track is absent where it is not among them. Besides, a frame takes 18
    bytes for each track that is kept.
    """

    def __init__(
        self,
        *,
        postprocessing: PostProcessing,
        score_pool: str = "prob_mean",
        labels_per_track: str = "best",
        presence_threshold: float = 0.0,
        folder: Path | None = None,
    ) -> None:
        """Start a video.

        Args:
            postprocessing: what is reported. The mask score is averaged over the frames that show
                the track.
            score_pool: "prob_mean", "logit_mean" or "max" over frames.
            labels_per_track: "best" or "all", see :meth:`PostProcessing.select`.
            presence_threshold: at key frames, tracks with a best score below it are absent.
            folder: an existing one for the temporary file; None = that of the system.

        Raises:
            ValueError: if an option is unknown.
        """
        check_option("score_pool", score_pool, _SCORE_POOLS)
        check_option("labels_per_track", labels_per_track, LABEL_RULES)
        self.postprocessing = postprocessing
        self.labels_per_track = labels_per_track
        self.presence_threshold = presence_threshold
        self._track_scores = _TrackScores(score_pool, postprocessing)
        self._kept = KeptMasks(folder)
        self._network: VideoNetwork | None = None  # of all frames

    def add(self, frame: FramePrediction | None) -> None:
        """Take the next frame.

        Args:
            frame: its prediction; None for a frame that was not predicted, which shows no track
                and does not count for the scores.
        """
        if frame is None:
            self._kept.add_gap()
            return
        self._track_scores.add(frame)
        tracks = self._tracks_to_keep(frame)
        lowest = logit(self.postprocessing.mask_threshold) - _LOGIT_MARGIN
        self._kept.add(tracks, frame.mask_logits[tracks], lowest)
        self._network = frame.network

    def result(self, image_size: tuple[int, int], output_size: tuple[int, int]) -> dict:
        """Choose the tracks.

        Args:
            image_size: (H, W) of the network's images, without padding.
            output_size: (H, W) of the masks to return.

        Returns:
            ``image_size`` (H, W) of the masks, ``length`` L; for k tracks, best first,
            ``pred_scores``, ``pred_labels``, ``pred_ids`` (tracks) and ``pred_rles`` (k lists of L
            compressed RLE dicts, None where the track is not visible).

        Raises:
            ValueError: if no frame was predicted.
        """
        masks: dict[int, list[dict | None]] = {}
        results = []
        for score, label, track, parts in self.chosen(image_size, output_size):
            if track not in masks:
                masks[track] = list(chain.from_iterable(parts))
            if any(masks[track]):  # some vanish at the original size
                results.append((score, label, track, masks[track]))
        names = ("pred_scores", "pred_labels", "pred_ids", "pred_rles")
        columns = map(list, zip(*results, strict=True)) if results else ([], [], [], [])
        return {
            "image_size": tuple(output_size),
            "length": len(self._kept),
            **dict(zip(names, columns, strict=True)),
        }

    def chosen(
        self, image_size: tuple[int, int], output_size: tuple[int, int]
    ) -> Iterator["ChosenTrack"]:
        """Choose the tracks, and give one after the other, without all masks in memory.

        Args:
            image_size: (H, W) of the network's images, without padding.
            output_size: (H, W) of the masks.

        Yields:
            The tracks, best first; some may have no mask at all at the original size.

        Raises:
            ValueError: if no frame was predicted.
        """
        if self._network is None:
            raise ValueError("the video has no frames")
        selection = self.postprocessing.select(
            self._track_scores.scores(),
            self._track_scores.quality() if self.postprocessing.mask_rescore else None,
            labels=self.labels_per_track,
        )
        for track, label, score in zip(*(x.tolist() for x in selection), strict=True):
            yield ChosenTrack(score, label, track, self._encode(track, image_size, output_size))

    def _tracks_to_keep(self, frame: FramePrediction) -> np.ndarray:
        """The tracks of a frame that may still be reported, in ascending order."""
        best = frame.scores.max(axis=1)
        tracks = np.flatnonzero(best >= self.presence_threshold)
        most = _KEPT_PER_REPORTED * self.postprocessing.max_detections
        return np.sort(tracks[np.argsort(-best[tracks], kind="stable")[:most]])

    def _encode(
        self, track: int, image_size: tuple[int, int], output_size: tuple[int, int]
    ) -> Iterator[list[dict | None]]:
        """The masks of a track in every frame as RLE, some frames at a time."""
        for length, shown, logits in self._kept.of_track(track):
            rles: list[dict | None] = [None] * length
            masks = self._network.masks(logits, self.postprocessing)
            found = masks.paste(np.arange(len(shown)), image_size, output_size, encode=True)
            for number, rle in zip(shown[found.shown].tolist(), found.masks, strict=True):
                # With bytes, as pycocotools gives them.
                rles[number] = {**rle, "counts": rle["counts"].encode("ascii")}
            yield rles


class ChosenTrack(NamedTuple):
    """A track of a video that is reported.

    Attributes:
        score: in [0, 1].
        label: its class, from 0.
        track: its number.
        parts: an iterator of lists, which together have a compressed RLE dict for each frame, or
            None where the track is not visible.
    """

    score: float
    label: int
    track: int
    parts: Iterator[list[dict | None]]


class _TrackScores:
    """Class scores and mask quality of each track, pooled over the frames of a video."""

    def __init__(self, pool: str, postprocessing: PostProcessing) -> None:
        self.pool = pool
        self.postprocessing = postprocessing
        self.frames = 0
        self.pooled: np.ndarray | None = None  # tracks, classes
        self.quality_sum: np.ndarray | None = None  # tracks
        self.quality_frames: np.ndarray | None = None  # tracks

    def add(self, frame: FramePrediction) -> None:
        # Long sums need single precision; a frame without valid scores counts as 0.
        scores = np.nan_to_num(frame.scores.astype(np.float32), nan=0.0)
        if self.pool == "logit_mean":
            scores = scores.clip(_LOGIT_EPS, 1 - _LOGIT_EPS)
            scores = np.log(scores / (1 - scores))
        quality = frame.masks(self.postprocessing).quality()
        if self.pooled is None:
            self.pooled = scores
            self.quality_sum, self.quality_frames = np.zeros_like(quality), np.zeros_like(quality)
        elif self.pool == "max":
            self.pooled = np.maximum(self.pooled, scores)
        else:
            self.pooled = self.pooled + scores
        self.frames += 1
        self.quality_sum += quality
        self.quality_frames += quality > 0

    def scores(self) -> np.ndarray:
        """(N, K), in [0, 1]."""
        if self.pool == "max":
            return self.pooled
        mean = self.pooled / self.frames
        return sigmoid(mean) if self.pool == "logit_mean" else mean

    def quality(self) -> np.ndarray:
        """(N,), the mean mask score over the frames that show the track."""
        return self.quality_sum / self.quality_frames.clip(min=1)


def _check_sizes(frames: Sequence[Any], image_size: tuple[int, int], first: int) -> None:
    """All frames of a video have one size. ``first`` is the number of the first of these."""
    for number, image in enumerate(frames, first):
        if tuple(image.shape[-2:]) != image_size:
            raise ValueError(
                f"frame {number} has the size {tuple(image.shape[-2:])}, the first frame "
                f"{image_size}: all frames of a video need one size"
            )
