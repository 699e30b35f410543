"""Prediction of whole videos: frames are pulled lazily, masks are kept small."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from pycocotools import mask as mask_util

from ..modeling.options import check_option
from ..modeling.postprocess import (
    LABEL_RULES,
    maskness,
    paste_masks,
    select_instances,
    upsample_mask_logits,
)
from .step import FrameStepper, KeyframeFunction, ReuseFunction, SlotFrame

__all__ = ["VideoPredictor"]

_SCORE_POOLS = ("prob_mean", "logit_mean", "max")
# Scores of exactly 0 or 1 have no finite logit.
_LOGIT_EPS = 1e-6


class _KeptFrame(NamedTuple):
    """What stays of a frame until the tracks are chosen: n slots and their small mask logits."""

    slots: torch.Tensor  # n
    mask_logits: torch.Tensor  # n, h, w, at stride 8


class _TrackScores:
    """Class scores and mask quality of each slot, pooled over the frames of a video."""

    def __init__(self, pool: str, mask_threshold: float) -> None:
        self.pool = pool
        self.mask_threshold = mask_threshold
        self.frames = 0
        self.pooled: torch.Tensor | None = None  # slots, classes
        self.quality_sum: torch.Tensor | None = None  # slots
        self.quality_frames: torch.Tensor | None = None  # slots

    def add(self, frame: SlotFrame) -> None:
        # Long sums need single precision; a frame without valid scores counts as 0.
        scores = frame.scores.float().cpu().nan_to_num(0.0)
        if self.pool == "logit_mean":
            scores = scores.logit(eps=_LOGIT_EPS)
        probs = upsample_mask_logits(frame.mask_logits[None])[0].sigmoid()
        quality = maskness(probs, self.mask_threshold).cpu()
        if self.pooled is None:
            self.pooled = scores.clone()
            self.quality_sum = torch.zeros_like(quality)
            self.quality_frames = torch.zeros_like(quality)
        elif self.pool == "max":
            self.pooled = torch.maximum(self.pooled, scores)
        else:
            self.pooled += scores
        self.frames += 1
        self.quality_sum += quality
        self.quality_frames += quality > 0

    def scores(self) -> torch.Tensor:
        """(N, K), in [0, 1]."""
        if self.pool == "max":
            return self.pooled
        mean = self.pooled / self.frames
        return mean.sigmoid() if self.pool == "logit_mean" else mean

    def quality(self) -> torch.Tensor:
        """(N,), the mean maskness over the frames that show the slot."""
        return self.quality_sum / self.quality_frames.clamp(min=1)


class VideoPredictor:
    """Predicts videos with one step function; takes the place of a model in Detectron2's loops.

    The same formulas as for images are used, so a video of one frame gives the image's instances.
    Resident memory is that of one chunk of frames, and of the mask logits at 1/8 of the network's
    input for every slot and frame.
    """

    @configurable
    def __init__(
        self,
        *,
        keyframe: KeyframeFunction,
        reuse: ReuseFunction,
        clip_len: int = 1,
        association_feature: str = "kernel",
        score_pool: str = "prob_mean",
        labels_per_track: str = "best",
        presence_threshold: float = 0.0,
        chunk: int = 8,
        keep_slots: int = 0,
        score_threshold: float = 0.005,
        mask_threshold: float = 0.45,
        mask_rescore: bool = True,
        max_detections: int = 10,
    ) -> None:
        """Set up.

        Args:
            keyframe: see :class:`FrameStepper`.
            reuse: see :class:`FrameStepper`.
            clip_len: T, the distance of key frames.
            association_feature: "kernel" or "query".
            score_pool: "prob_mean", "logit_mean" or "max" over frames.
            labels_per_track: "best" or "all", see :func:`select_instances`.
            presence_threshold: at key frames, slots with a best score below it are absent.
            chunk: frames that go through the network together.
            keep_slots: slots whose masks are kept per frame, best running scores first; 0 = all.
            score_threshold: class scores must be above it.
            mask_threshold: mask probability above which a pixel belongs to the track.
            mask_rescore: multiply scores by the maskness, averaged over the frames that show it.
            max_detections: tracks per video at most.

        Raises:
            ValueError: if an option is unknown or ``chunk`` is below 1.
        """
        check_option("TEST.TRACKING.SCORE_POOL", score_pool, _SCORE_POOLS)
        check_option("TEST.TRACKING.LABELS_PER_TRACK", labels_per_track, LABEL_RULES)
        if chunk < 1:
            raise ValueError(f"TEST.TRACKING.CHUNK is {chunk}, it must be at least 1")
        self.stepper = FrameStepper(
            keyframe, reuse, clip_len=clip_len, association_feature=association_feature
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

    @classmethod
    def from_config(cls, cfg: CfgNode, model: object) -> dict:
        """Keyword arguments from ``cfg.TEST`` and a model with ``keyframe`` and ``reuse``."""
        node = cfg.TEST.TRACKING
        return {
            "keyframe": model.keyframe,
            "reuse": model.reuse,
            "clip_len": node.CLIP_LEN,
            "association_feature": node.ASSOCIATION_FEATURE,
            "score_pool": node.SCORE_POOL,
            "labels_per_track": node.LABELS_PER_TRACK,
            "presence_threshold": node.PRESENCE_THRESHOLD,
            "chunk": node.CHUNK,
            "keep_slots": node.KEEP_SLOTS,
            "score_threshold": cfg.TEST.SCORE_THRESHOLD,
            "mask_threshold": cfg.TEST.MASK_THRESHOLD,
            "mask_rescore": cfg.TEST.MASK_RESCORE,
            "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
        }

    def __call__(self, batched_inputs: list[dict]) -> list[dict]:
        """Predict videos in the form of the evaluation loaders.

        Args:
            batched_inputs: per video ``image`` (a sequence of frames, see :meth:`predict`),
                ``height``, ``width`` of the original frames and ``video_id``.

        Returns:
            The result of :meth:`predict` per video, with its ``video_id``.
        """
        results = []
        for video in batched_inputs:
            result = self.predict(video["image"], (video["height"], video["width"]))
            results.append({"video_id": video["video_id"], **result})
        return results

    @torch.no_grad()
    def predict(self, frames: Sequence[torch.Tensor], output_size: tuple[int, int]) -> dict:
        """Track the instances of one video.

        Args:
            frames: images (3, H, W) in [0, 255], all of one size; they are taken one chunk at a
                time, in order.
            output_size: (H, W) of the masks to return.

        Returns:
            ``image_size`` (H, W), ``length`` L; for k tracks, best first, ``pred_scores``,
            ``pred_labels``, ``pred_ids`` (slots) and ``pred_rles`` (k lists of L compressed RLE
            dicts, None where the track is not visible).

        Raises:
            ValueError: if the video has no frame, or frames differ in size.
        """
        if len(frames) == 0:
            raise ValueError("the video has no frames")
        self.stepper.reset()
        track_scores = _TrackScores(self.score_pool, self.mask_threshold)
        kept: list[_KeptFrame | None] = []
        image_size = None
        for start in range(0, len(frames), self.chunk):
            slot_frames, image_size = self._step_chunk(frames, start, image_size)
            for frame in slot_frames:
                track_scores.add(frame)
                kept.append(self._keep(frame, track_scores))

        slots, labels, scores = select_instances(
            track_scores.scores(),
            track_scores.quality() if self.mask_rescore else None,
            score_threshold=self.score_threshold,
            max_detections=self.max_detections,
            labels=self.labels_per_track,
        )
        tracks = self._encode_tracks(slots.unique(), kept, image_size, output_size)
        results = [
            (score, label, slot, tracks[slot])
            for score, label, slot in zip(
                scores.tolist(), labels.tolist(), slots.tolist(), strict=True
            )
            if any(tracks[slot])  # some vanish at the original size
        ]
        names = ("pred_scores", "pred_labels", "pred_ids", "pred_rles")
        columns = map(list, zip(*results, strict=True)) if results else ([], [], [], [])
        return {
            "image_size": tuple(output_size),
            "length": len(frames),
            **dict(zip(names, columns, strict=True)),
        }

    def _step_chunk(
        self,
        frames: Sequence[torch.Tensor],
        start: int,
        image_size: tuple[int, int] | None,
    ) -> tuple[list[SlotFrame], tuple[int, int]]:
        """Step through the next chunk. Its frames are free again before the next is pulled."""
        chunk = [frames[i] for i in range(start, min(start + self.chunk, len(frames)))]
        image_size = image_size or tuple(chunk[0].shape[-2:])
        for offset, image in enumerate(chunk):
            if tuple(image.shape[-2:]) != image_size:
                raise ValueError(
                    f"frame {start + offset} has the size {tuple(image.shape[-2:])}, the "
                    f"first frame {image_size}: all frames of a video need one size"
                )
        return self.stepper(chunk), image_size

    def _keep(self, frame: SlotFrame, track_scores: _TrackScores) -> _KeptFrame:
        """The slots of a frame that may still be reported."""
        present = frame.scores.max(dim=1).values >= self.presence_threshold
        slots = present.nonzero()[:, 0]
        if 0 < self.keep_slots < len(slots):
            running = track_scores.scores().max(dim=1).values.to(slots.device)
            slots = slots[running[slots].topk(self.keep_slots).indices]
        return _KeptFrame(slots.cpu(), frame.mask_logits[slots].float().cpu())

    def _encode_tracks(
        self,
        wanted: torch.Tensor,
        kept: list[_KeptFrame | None],
        image_size: tuple[int, int],
        output_size: tuple[int, int],
    ) -> dict[int, list[dict | None]]:
        """Masks of the wanted slots in every frame, as RLE. Frames are freed as they are done."""
        tracks: dict[int, list[dict | None]] = {slot: [] for slot in wanted.tolist()}
        for index, frame in enumerate(kept):
            kept[index] = None
            chosen = torch.isin(frame.slots, wanted)
            visible: dict[int, dict | None] = {}
            if chosen.any():
                logits = upsample_mask_logits(frame.mask_logits[chosen][None])[0]
                masks = paste_masks(logits, image_size, output_size, self.mask_threshold)
                visible = dict(zip(frame.slots[chosen].tolist(), _encode(masks), strict=True))
            for slot, track in tracks.items():
                track.append(visible.get(slot))
        return tracks


def _encode(masks: torch.Tensor) -> list[dict | None]:
    """Compressed RLE of each mask (n, H, W); None for empty ones."""
    columns = np.asfortranarray(masks.permute(1, 2, 0).numpy().astype(np.uint8))  # h, w, n
    rles = mask_util.encode(columns)
    return [
        rle if shown else None for rle, shown in zip(rles, masks.flatten(1).any(1), strict=True)
    ]
