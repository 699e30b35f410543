"""Tracks of whole videos: frames are pulled lazily, masks are kept small."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any, NamedTuple

import numpy as np

from mobileinst_core.masks.crop_rle import encode_crop
from mobileinst_core.options import check_option
from mobileinst_core.postprocessing import LABEL_RULES, PostProcessing

from .association import Tracker
from .keyframes import FramePrediction, KeyframeRunner, VideoNetwork

__all__ = ["OfflineTracker", "VideoTracks"]

_SCORE_POOLS = ("prob_mean", "logit_mean", "max")
# Scores of exactly 0 or 1 have no finite logit.
_LOGIT_EPS = 1e-6


class OfflineTracker:
    """Predicts whole videos.

    The same formulas as for images are used, so a video of one frame gives the image's instances.
    Resident memory is that of one chunk of frames, and of the mask logits at the stride of the
    network for every track and frame.
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
        keep_tracks: int = 0,
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
            keep_tracks: likewise.
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
        self.keep_tracks = keep_tracks
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

    def new_video(self) -> "VideoTracks":
        """What makes tracks of the frames of a video, where another loop predicts them."""
        return VideoTracks(
            postprocessing=self.postprocessing,
            score_pool=self.score_pool,
            labels_per_track=self.labels_per_track,
            presence_threshold=self.presence_threshold,
            keep_tracks=self.keep_tracks,
        )

    def _run(self, frames: Sequence[Any]) -> list[FramePrediction] | None:
        """Predict the next frames; None if there is no memory for so many together."""
        return self.runner(frames)


class VideoTracks:
    """Takes the frames of one video as they are predicted, and chooses its tracks at the end.

    Memory is that of the mask logits for every track and frame.
    """

    def __init__(
        self,
        *,
        postprocessing: PostProcessing,
        score_pool: str = "prob_mean",
        labels_per_track: str = "best",
        presence_threshold: float = 0.0,
        keep_tracks: int = 0,
    ) -> None:
        """Start a video.

        Args:
            postprocessing: what is reported. Maskness is averaged over the frames that show the
                track.
            score_pool: "prob_mean", "logit_mean" or "max" over frames.
            labels_per_track: "best" or "all", see :meth:`PostProcessing.select`.
            presence_threshold: at key frames, tracks with a best score below it are absent.
            keep_tracks: tracks whose masks are kept per frame, best running scores first; 0 = all.

        Raises:
            ValueError: if an option is unknown.
        """
        check_option("score_pool", score_pool, _SCORE_POOLS)
        check_option("labels_per_track", labels_per_track, LABEL_RULES)
        self.postprocessing = postprocessing
        self.labels_per_track = labels_per_track
        self.presence_threshold = presence_threshold
        self.keep_tracks = keep_tracks
        self._track_scores = _TrackScores(score_pool, postprocessing)
        self._kept: list[_KeptFrame | None] = []

    def add(self, frame: FramePrediction | None) -> None:
        """Take the next frame.

        Args:
            frame: its prediction; None for a frame that was not predicted, which shows no track
                and does not count for the scores.
        """
        if frame is None:
            self._kept.append(None)
            return
        self._track_scores.add(frame)
        self._kept.append(self._keep(frame))

    def result(self, image_size: tuple[int, int], output_size: tuple[int, int]) -> dict:
        """Choose the tracks. This frees the frames, so it ends the video.

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
        if not any(self._kept):
            raise ValueError("the video has no frames")
        length = len(self._kept)
        tracks, classes, scores = self.postprocessing.select(
            self._track_scores.scores(),
            self._track_scores.quality() if self.postprocessing.mask_rescore else None,
            labels=self.labels_per_track,
        )
        masks = self._encode_tracks(np.unique(tracks), image_size, output_size)
        results = [
            (score, label, track, masks[track])
            for score, label, track in zip(
                scores.tolist(), classes.tolist(), tracks.tolist(), strict=True
            )
            if any(masks[track])  # some vanish at the original size
        ]
        names = ("pred_scores", "pred_labels", "pred_ids", "pred_rles")
        columns = map(list, zip(*results, strict=True)) if results else ([], [], [], [])
        return {
            "image_size": tuple(output_size),
            "length": length,
            **dict(zip(names, columns, strict=True)),
        }

    def _keep(self, frame: FramePrediction) -> "_KeptFrame":
        """The tracks of a frame that may still be reported."""
        tracks = np.flatnonzero(frame.scores.max(axis=1) >= self.presence_threshold)
        if 0 < self.keep_tracks < len(tracks):
            running = self._track_scores.scores().max(axis=1)[tracks]
            tracks = tracks[np.argsort(-running, kind="stable")[: self.keep_tracks]]
        return _KeptFrame(tracks, frame.of_tracks(tracks))

    def _encode_tracks(
        self, wanted: np.ndarray, image_size: tuple[int, int], output_size: tuple[int, int]
    ) -> dict[int, list[dict | None]]:
        """Masks of the wanted tracks in every frame, as RLE. Frames are freed as they are done."""
        encoded: dict[int, list[dict | None]] = {track: [] for track in wanted.tolist()}
        for index, frame in enumerate(self._kept):
            self._kept[index] = None
            visible: dict[int, dict] = {}
            if frame is not None and (chosen := np.isin(frame.tracks, wanted)).any():
                tracks = frame.tracks[chosen].tolist()
                masks = frame.prediction.of_tracks(chosen).masks(self.postprocessing)
                crops = masks.crops(np.arange(len(tracks)), image_size, output_size)
                for track, crop in zip(tracks, crops, strict=True):
                    if crop is not None:
                        visible[track] = encode_crop(*crop, output_size)
            for track, codes in encoded.items():
                codes.append(visible.get(track))
        return encoded


class _KeptFrame(NamedTuple):
    """What stays of a frame until the tracks are chosen: the numbers of n tracks and these."""

    tracks: np.ndarray
    prediction: FramePrediction


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
        return 1 / (1 + np.exp(-mean)) if self.pool == "logit_mean" else mean

    def quality(self) -> np.ndarray:
        """(N,), the mean maskness over the frames that show the track."""
        return self.quality_sum / self.quality_frames.clip(min=1)


def _check_sizes(frames: Sequence[Any], image_size: tuple[int, int], first: int) -> None:
    """All frames of a video have one size. ``first`` is the number of the first of these."""
    for number, image in enumerate(frames, first):
        if tuple(image.shape[-2:]) != image_size:
            raise ValueError(
                f"frame {number} has the size {tuple(image.shape[-2:])}, the first frame "
                f"{image_size}: all frames of a video need one size"
            )
