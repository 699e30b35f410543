"""Prediction of whole videos: frames are pulled lazily, masks are kept small."""

import logging
from collections.abc import Iterable, Sequence
from itertools import islice

import torch
from detectron2.config import CfgNode, configurable

from .kernel_tracker import KernelTracker
from .step import Array, FrameStepper, KeyframeFunction, ReuseFunction, SlotFrame
from .track_collector import TrackCollector

__all__ = ["VideoPredictor"]

logger = logging.getLogger(__name__)


class VideoPredictor:
    """Predicts videos with one step function; takes the place of a model in Detectron2's loops.

    The same formulas as for images are used, so a video of one frame gives the image's instances.
    Resident memory is that of one chunk of frames, and of the mask logits at 1/8 of the network's
    input for every slot and frame. Where a GPU has no memory for a chunk, it is halved.
    """

    @configurable
    def __init__(
        self,
        *,
        keyframe: KeyframeFunction,
        reuse: ReuseFunction,
        clip_len: int = 1,
        association_feature: str = "kernel",
        tracker: KernelTracker | None = None,
        score_pool: str = "prob_mean",
        labels_per_track: str = "best",
        presence_threshold: float = 0.0,
        chunk: int = 8,
        keep_slots: int = 0,
        score_threshold: float = 0.005,
        mask_threshold: float = 0.45,
        mask_rescore: bool = True,
        max_detections: int = 10,
        mask_paste: str = "box",
    ) -> None:
        """Set up.

        Args:
            keyframe: see :class:`FrameStepper`.
            reuse: see :class:`FrameStepper`.
            clip_len: T, the distance of key frames.
            association_feature: "kernel" or "query".
            tracker: see :class:`FrameStepper`.
            score_pool: "prob_mean", "logit_mean" or "max" over frames.
            labels_per_track: "best" or "all", see :func:`select_instances`.
            presence_threshold: at key frames, slots with a best score below it are absent.
            chunk: frames that go through the network together.
            keep_slots: slots whose masks are kept per frame, best running scores first; 0 = all.
            score_threshold: class scores must be above it.
            mask_threshold: mask probability above which a pixel belongs to the track.
            mask_rescore: multiply scores by the maskness, averaged over the frames that show it.
            max_detections: tracks per video at most.
            mask_paste: "box" or "published", see :func:`read_masks`.

        Raises:
            ValueError: if an option is unknown or ``chunk`` is below 1.
        """
        if chunk < 1:
            raise ValueError(f"TEST.TRACKING.CHUNK is {chunk}, it must be at least 1")
        self.stepper = FrameStepper(
            keyframe,
            reuse,
            clip_len=clip_len,
            association_feature=association_feature,
            tracker=tracker,
        )
        self.score_pool = score_pool
        self.labels_per_track = labels_per_track
        self.presence_threshold = presence_threshold
        self.chunk = chunk
        self.keep_slots = keep_slots
        self.score_threshold = score_threshold
        self.mask_threshold = mask_threshold
        self.mask_rescore = mask_rescore
        self.max_detections = max_detections
        self.mask_paste = mask_paste
        self.new_collector()  # checks the options

    @classmethod
    def from_config(cls, cfg: CfgNode, model: object) -> dict:
        """Keyword arguments from ``cfg.TEST`` and a model with ``keyframe`` and ``reuse``."""
        node = cfg.TEST.TRACKING
        return {
            "keyframe": model.keyframe,
            "reuse": model.reuse,
            "clip_len": node.CLIP_LEN,
            "association_feature": node.ASSOCIATION_FEATURE,
            "tracker": KernelTracker(cfg),
            "score_pool": node.SCORE_POOL,
            "labels_per_track": node.LABELS_PER_TRACK,
            "presence_threshold": node.PRESENCE_THRESHOLD,
            "chunk": node.CHUNK,
            "keep_slots": node.KEEP_SLOTS,
            "score_threshold": cfg.TEST.SCORE_THRESHOLD,
            "mask_threshold": cfg.TEST.MASK_THRESHOLD,
            "mask_rescore": cfg.TEST.MASK_RESCORE,
            "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
            "mask_paste": cfg.TEST.MASK_PASTE,
        }

    def __call__(self, batched_inputs: list[dict]) -> list[dict]:
        """Predict videos in the form of the evaluation loaders.

        Args:
            batched_inputs: per video ``image`` (its frames, see :meth:`predict`), ``height``,
                ``width`` of the original frames and ``video_id``.

        Returns:
            The result of :meth:`predict` per video, with its ``video_id``.
        """
        results = []
        for video in batched_inputs:
            result = self.predict(video["image"], (video["height"], video["width"]))
            results.append({"video_id": video["video_id"], **result})
        return results

    @torch.no_grad()
    def predict(self, frames: Iterable[Array], output_size: tuple[int, int]) -> dict:
        """Track the instances of one video.

        Args:
            frames: images (3, H, W) in [0, 255], all of one size. They are taken one chunk at a
                time and in one pass, so they may come from a generator.
            output_size: (H, W) of the masks to return.

        Returns:
            ``image_size`` (H, W), ``length`` L; for k tracks, best first, ``pred_scores``,
            ``pred_labels``, ``pred_ids`` (slots) and ``pred_rles`` (k lists of L compressed RLE
            dicts, None where the track is not visible).

        Raises:
            ValueError: if the video has no frame, or frames differ in size.
            torch.cuda.OutOfMemoryError: if a GPU has no memory for a single frame.
        """
        self.stepper.reset()
        collector = self.new_collector()
        # Data sets of PyTorch need not end when they are iterated.
        frames = islice(frames, len(frames)) if hasattr(frames, "__len__") else iter(frames)
        image_size: tuple[int, int] | None = None
        chunk, taken = self.chunk, 0
        # Pulled frames that have not been predicted; only this list holds them.
        waiting: list[Array] = []
        while waiting or (waiting := list(islice(frames, chunk))):
            image_size = image_size or tuple(waiting[0].shape[-2:])
            _check_sizes(waiting, image_size, taken)
            slot_frames = self._step_where_it_fits(waiting[:chunk])
            if slot_frames is None:
                chunk = min(chunk, len(waiting)) // 2
                logger.warning(
                    "The GPU has no memory for more frames at once: %d from now on in this video. "
                    "TEST.TRACKING.CHUNK %d saves the attempt.",
                    chunk,
                    chunk,
                )
                continue
            for frame in slot_frames:
                collector.add(frame)
            taken += len(slot_frames)
            del waiting[: len(slot_frames)]
        return collector.result(image_size, output_size)

    def new_collector(self) -> TrackCollector:
        """What makes tracks of the frames of a video, where another loop predicts them."""
        return TrackCollector(
            score_pool=self.score_pool,
            labels_per_track=self.labels_per_track,
            presence_threshold=self.presence_threshold,
            keep_slots=self.keep_slots,
            score_threshold=self.score_threshold,
            mask_threshold=self.mask_threshold,
            mask_rescore=self.mask_rescore,
            max_detections=self.max_detections,
            mask_paste=self.mask_paste,
        )

    def _step_where_it_fits(self, frames: Sequence[Array]) -> list[SlotFrame] | None:
        """Step through frames; None where a GPU has no memory for so many."""
        try:
            return self.stepper(frames)
        except torch.cuda.OutOfMemoryError:
            if len(frames) == 1:
                raise
        # Here nothing holds on to what was computed.
        torch.cuda.empty_cache()
        return None


def _check_sizes(frames: Sequence[Array], image_size: tuple[int, int], first: int) -> None:
    """All frames of a video have one size. ``first`` is the number of the first of these."""
    for number, image in enumerate(frames, first):
        if tuple(image.shape[-2:]) != image_size:
            raise ValueError(
                f"frame {number} has the size {tuple(image.shape[-2:])}, the first frame "
                f"{image_size}: all frames of a video need one size"
            )
