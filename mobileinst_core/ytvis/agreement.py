"""How well the tracks that two runtimes give for the same videos agree."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pycocotools import mask as mask_util

__all__ = ["TrackAgreement"]

RLE = dict[str, Any]


class TrackAgreement:
    """Collects, video by video, what of the tracks of a reference is found again.

    Attributes:
        num_tracks: tracks of the reference.
        num_same: those that were found with the same identity and class.
        num_frames: frames compared.
        num_same_frames: those that show the same identities live.
        ious: mask IoU of each frame in which one of two tracks of the same identity is visible.
        score_difference: largest difference between the scores of two such tracks.
    """

    def __init__(self) -> None:
        """Nothing has been compared."""
        self.num_tracks = self.num_same = 0
        self.num_frames = self.num_same_frames = 0
        self.ious: list[float] = []
        self.score_difference = 0.0

    def add_tracks(self, reference: Mapping[str, Any], found: Mapping[str, Any]) -> None:
        """Compare the tracks of a video.

        Args:
            reference: what :class:`~mobileinst_d2.tracking.VideoPredictor` returns for a video.
            found: the same of the other runtime.
        """
        others = dict(_tracks(found))
        for identity, (score, masks) in _tracks(reference):
            self.num_tracks += 1
            if identity not in others:
                continue
            self.num_same += 1
            other_score, other_masks = others[identity]
            self.score_difference = max(self.score_difference, abs(score - other_score))
            self.ious += frame_ious(masks, other_masks)

    def add_live(self, reference: Sequence[Sequence[int]], found: Sequence[Sequence[int]]) -> None:
        """Compare the identities that live tracking shows.

        Args:
            reference: per frame the identities, best first.
            found: the same of the other runtime.
        """
        for ours, theirs in zip(reference, found, strict=True):
            self.num_frames += 1
            self.num_same_frames += set(ours) == set(theirs)

    def summary(self) -> dict[str, float]:
        """The numbers of the attributes; of the IoUs ``iou_mean`` and ``iou_min``."""
        return {
            "tracks": self.num_tracks,
            "same_tracks": self.num_same,
            "frames": self.num_frames,
            "same_frames": self.num_same_frames,
            "iou_mean": float(np.mean(self.ious)) if self.ious else 1.0,
            "iou_min": min(self.ious, default=1.0),
            "score_difference": self.score_difference,
        }


def frame_ious(reference: Sequence[RLE | None], found: Sequence[RLE | None]) -> list[float]:
    """Mask IoU of two tracks in each frame that shows one of them.

    Args:
        reference: a compressed RLE per frame, None = not visible.
        found: likewise.

    Returns:
        IoUs in [0, 1]; 0 where only one is visible.
    """
    ious = []
    for ours, theirs in zip(reference, found, strict=True):
        if ours is not None and theirs is not None:
            ious.append(float(mask_util.iou([theirs], [ours], [False])[0, 0]))
        elif ours is not theirs:
            ious.append(0.0)
    return ious


def _tracks(result: Mapping[str, Any]):
    """Identity, and score and masks of the tracks of a video."""
    names = ("pred_ids", "pred_labels", "pred_scores", "pred_rles")
    for track, label, score, masks in zip(*(result[name] for name in names), strict=True):
        yield (track, label), (score, masks)
