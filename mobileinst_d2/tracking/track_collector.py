"""From the slots of a video's frames to its tracks: scores over the whole video, small masks."""

from typing import NamedTuple

import torch

from mobileinst_core.masks.crop_rle import encode_crop

from ..modeling.options import check_option
from ..modeling.postprocess import LABEL_RULES, MASK_PASTES, read_masks, select_instances
from .step import SlotFrame

__all__ = ["TrackCollector"]

_SCORE_POOLS = ("prob_mean", "logit_mean", "max")
# Scores of exactly 0 or 1 have no finite logit.
_LOGIT_EPS = 1e-6


class _KeptFrame(NamedTuple):
    """What stays of a frame until the tracks are chosen: n slots and their small mask logits."""

    slots: torch.Tensor  # n
    mask_logits: torch.Tensor  # n, h, w, at stride 8


class _TrackScores:
    """Class scores and mask quality of each slot, pooled over the frames of a video."""

    def __init__(self, pool: str, mask_threshold: float, mask_paste: str) -> None:
        self.pool = pool
        self.mask_threshold = mask_threshold
        self.mask_paste = mask_paste
        self.frames = 0
        self.pooled: torch.Tensor | None = None  # slots, classes
        self.quality_sum: torch.Tensor | None = None  # slots
        self.quality_frames: torch.Tensor | None = None  # slots

    def add(self, frame: SlotFrame) -> None:
        # Long sums need single precision; a frame without valid scores counts as 0.
        scores = frame.scores.float().cpu().nan_to_num(0.0)
        if self.pool == "logit_mean":
            scores = scores.logit(eps=_LOGIT_EPS)
        masks = read_masks(frame.mask_logits, self.mask_threshold, self.mask_paste)
        quality = masks.quality().cpu()
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


class TrackCollector:
    """Takes the frames of one video as they are predicted, and chooses its tracks at the end.

    Memory is that of the mask logits at 1/8 of the network's input for every slot and frame.
    """

    def __init__(
        self,
        *,
        score_pool: str,
        labels_per_track: str,
        presence_threshold: float,
        keep_slots: int,
        score_threshold: float,
        mask_threshold: float,
        mask_rescore: bool,
        max_detections: int,
        mask_paste: str,
    ) -> None:
        """Start a video. The arguments are those of :class:`VideoPredictor`.

        Raises:
            ValueError: if an option is unknown.
        """
        check_option("TEST.TRACKING.SCORE_POOL", score_pool, _SCORE_POOLS)
        check_option("TEST.TRACKING.LABELS_PER_TRACK", labels_per_track, LABEL_RULES)
        check_option("TEST.MASK_PASTE", mask_paste, MASK_PASTES)
        self.labels_per_track = labels_per_track
        self.presence_threshold = presence_threshold
        self.keep_slots = keep_slots
        self.score_threshold = score_threshold
        self.mask_threshold = mask_threshold
        self.mask_rescore = mask_rescore
        self.max_detections = max_detections
        self.mask_paste = mask_paste
        self._track_scores = _TrackScores(score_pool, mask_threshold, mask_paste)
        self._kept: list[_KeptFrame | None] = []

    def add(self, frame: SlotFrame | None) -> None:
        """Take the next frame.

        Args:
            frame: its slots; None for a frame that was not predicted, which shows no track and
                does not count for the scores.
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
            ``pred_scores``, ``pred_labels``, ``pred_ids`` (slots) and ``pred_rles`` (k lists of L
            compressed RLE dicts, None where the track is not visible).

        Raises:
            ValueError: if no frame was predicted.
        """
        if not any(self._kept):
            raise ValueError("the video has no frames")
        length = len(self._kept)
        slots, labels, scores = select_instances(
            self._track_scores.scores(),
            self._track_scores.quality() if self.mask_rescore else None,
            score_threshold=self.score_threshold,
            max_detections=self.max_detections,
            labels=self.labels_per_track,
        )
        tracks = self._encode_tracks(slots.unique(), image_size, output_size)
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
            "length": length,
            **dict(zip(names, columns, strict=True)),
        }

    def _keep(self, frame: SlotFrame) -> _KeptFrame:
        """The slots of a frame that may still be reported."""
        present = frame.scores.max(dim=1).values >= self.presence_threshold
        slots = present.nonzero()[:, 0]
        if 0 < self.keep_slots < len(slots):
            running = self._track_scores.scores().max(dim=1).values.to(slots.device)
            slots = slots[running[slots].topk(self.keep_slots).indices]
        return _KeptFrame(slots.cpu(), frame.mask_logits[slots].float().cpu())

    def _encode_tracks(
        self, wanted: torch.Tensor, image_size: tuple[int, int], output_size: tuple[int, int]
    ) -> dict[int, list[dict | None]]:
        """Masks of the wanted slots in every frame, as RLE. Frames are freed as they are done."""
        tracks: dict[int, list[dict | None]] = {slot: [] for slot in wanted.tolist()}
        for index, frame in enumerate(self._kept):
            self._kept[index] = None
            visible: dict[int, dict] = {}
            if frame is not None and (chosen := torch.isin(frame.slots, wanted)).any():
                logits, slots = frame.mask_logits[chosen], frame.slots[chosen].tolist()
                masks = read_masks(logits, self.mask_threshold, self.mask_paste)
                crops = masks.crops(torch.arange(len(slots)), image_size, output_size)
                for slot, crop in zip(slots, crops, strict=True):
                    if crop is not None:
                        visible[slot] = encode_crop(*crop, output_size)
            for slot, track in tracks.items():
                track.append(visible.get(slot))
        return tracks
