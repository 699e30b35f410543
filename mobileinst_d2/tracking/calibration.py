"""How well an association keeps identities, measured on recorded frames with ground truth.

A video is recorded once: embeddings and scores of all queries, and which query shows which track of
the ground truth. Any association can then be replayed on it without the network.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import product
from typing import NamedTuple

import torch
import torch.nn.functional as F
from scipy.stats import binomtest, rankdata

from .kernel_tracker import KernelTracker
from .step import ASSOCIATION_FEATURES

__all__ = [
    "AssociationResult",
    "AssociationSetting",
    "Calibration",
    "IdentityCounts",
    "RecordedFrame",
    "Similarities",
    "Suggestion",
    "association_grid",
    "count_identities",
    "measure_similarities",
    "replay",
    "separation",
    "sign_test",
    "suggest",
]

# Chance that the paper's association is as good, below which another one is suggested.
_SIGNIFICANT = 0.05


class RecordedFrame(NamedTuple):
    """What a frame would give to the association if it were a key frame.

    Attributes:
        embeddings: (N, C) on the CPU, for each ``ASSOCIATION_FEATURE``.
        scores: (N, K) in [0, 1], or their maximum over the classes as (N, 1).
        query_of: the query that shows a track, for each track of the ground truth that one shows.
    """

    embeddings: Mapping[str, torch.Tensor]
    scores: torch.Tensor
    query_of: Mapping[int, int]


class IdentityCounts(NamedTuple):
    """Events of the tracks of the ground truth, in one video or summed over several.

    An appearance is a key frame in which a query shows the track. From its second appearance on, a
    track may have switched: the slot differs from that of its last appearance, as in the MOT
    metrics. A return is an appearance after at least one key frame without.

    Attributes:
        appearances: of all tracks.
        continuations: appearances but the first of each track.
        switches: continuations in another slot.
        returns: continuations after a gap.
        return_switches: returns in another slot.
        agreement: sum over appearances of the Jaccard index of track and slot, see `accuracy`.
    """

    appearances: int = 0
    continuations: int = 0
    switches: int = 0
    returns: int = 0
    return_switches: int = 0
    agreement: float = 0.0

    @property
    def accuracy(self) -> float:
        """Association accuracy in [0, 1], as in HOTA, over the appearances; 0 without any.

        A switch lowers it, and so does a slot that is handed from one track to another.
        """
        return self.agreement / max(self.appearances, 1)

    def __add__(self, other: "IdentityCounts") -> "IdentityCounts":
        return IdentityCounts(*(a + b for a, b in zip(self, other, strict=True)))


class Similarities(NamedTuple):
    """Cosines between the embedding of an object and earlier ones.

    Attributes:
        same: the same object in the key frame before.
        same_after_gap: the same object in its last appearance, earlier than that.
        different: every other object of the video, in its last appearance.
    """

    same: list[float]
    same_after_gap: list[float]
    different: list[float]


class AssociationSetting(NamedTuple):
    """One way to associate; the names are those of the keys in ``TEST.TRACKING``."""

    clip_len: int
    association_feature: str
    mode: str
    ema_momentum: float | None = None
    bank_size: int | None = None
    update_threshold: float | None = None

    def config(self) -> dict[str, int | float | str]:
        """The config keys that this setting gives a value."""
        values = self._asdict().items()
        return {f"TEST.TRACKING.{k.upper()}": v for k, v in values if v is not None}

    def tracker(self) -> KernelTracker:
        """The association."""
        names = ("mode", "ema_momentum", "bank_size", "update_threshold")
        options = {name: getattr(self, name) for name in names}
        return KernelTracker(**{k: v for k, v in options.items() if v is not None})


class AssociationResult(NamedTuple):
    """What a setting gives.

    Attributes:
        setting: the setting.
        videos: the counts of each video.
    """

    setting: AssociationSetting
    videos: list[IdentityCounts]

    @property
    def total(self) -> IdentityCounts:
        """The counts of all videos together."""
        return sum(self.videos, IdentityCounts())

    @property
    def switches(self) -> list[int]:
        """Identity switches of each video."""
        return [counts.switches for counts in self.videos]


class Suggestion(NamedTuple):
    """What to use for one T.

    Attributes:
        chosen: the best setting if it is better than the paper's beyond chance, else the paper's.
        best: the setting with the fewest identity switches, by accuracy where several have them.
        paper: comparison of consecutive key frames by kernels.
        p_value: of the sign test between the two.
    """

    chosen: AssociationSetting
    best: AssociationResult
    paper: AssociationResult
    p_value: float


class Calibration:
    """Tries a grid of settings on recorded videos, one video after the other.

    Attributes:
        results: one per setting, in the order of the grid.
        unassociated: for each T the counts of each video without any association, each query being
            a slot. Switches that remain there are of objects that another query has taken over; an
            association that hardly differs from it was hardly tested.
        similarities: for each T and feature of the grid.
    """

    def __init__(self, grid: Sequence[AssociationSetting]) -> None:
        """Start without videos.

        Args:
            grid: the settings.

        Raises:
            ValueError: if an option is unknown or out of range.
        """
        self._trackers = [setting.tracker() for setting in grid]
        self.results = [AssociationResult(setting, []) for setting in grid]
        self.unassociated: dict[int, list[IdentityCounts]] = {s.clip_len: [] for s in grid}
        self.similarities = {
            (setting.clip_len, setting.association_feature): Similarities([], [], [])
            for setting in grid
        }

    def add_video(self, frames: Sequence[RecordedFrame]) -> None:
        """Try every setting on a video, of which nothing but the measurements is kept.

        Args:
            frames: all frames of the video.
        """
        for clip_len, videos in self.unassociated.items():
            videos.append(count_identities([frame.query_of for frame in frames[::clip_len]]))
        for (clip_len, feature), collected in self.similarities.items():
            found = measure_similarities(frames, feature=feature, clip_len=clip_len)
            for values, more in zip(collected, found, strict=True):
                values += more
        for (setting, videos), tracker in zip(self.results, self._trackers, strict=True):
            slots = replay(
                frames, tracker, feature=setting.association_feature, clip_len=setting.clip_len
            )
            videos.append(count_identities(slots))


def association_grid(
    *,
    clip_lens: Sequence[int],
    momenta: Sequence[float],
    bank_sizes: Sequence[int],
    thresholds: Sequence[float],
) -> list[AssociationSetting]:
    """Settings to try: every mode with every feature at every T.

    Args:
        clip_lens: values of T.
        momenta: values of ``EMA_MOMENTUM``.
        bank_sizes: values of ``BANK_SIZE``.
        thresholds: values of ``UPDATE_THRESHOLD``.

    Returns:
        The settings; the paper's is the first of each T.

    Raises:
        ValueError: if a T is below 1.
    """
    if min(clip_lens) < 1:
        raise ValueError(f"TEST.TRACKING.CLIP_LEN is {min(clip_lens)}, it must be at least 1")
    modes = [
        ("prev", None, None, None),
        *(("ema", m, None, s) for m, s in product(momenta, thresholds)),
        *(("bank", None, size, s) for size, s in product(bank_sizes, thresholds)),
    ]
    return [
        AssociationSetting(clip_len, feature, *mode)
        for clip_len, feature, mode in product(clip_lens, ASSOCIATION_FEATURES, modes)
    ]


def suggest(results: Sequence[AssociationResult]) -> Suggestion:
    """Choose a setting for one T.

    Args:
        results: of one T, the paper's setting first.

    Returns:
        The choice and its evidence.
    """
    paper = results[0]
    best = min(results, key=lambda result: (result.total.switches, -result.total.accuracy))
    p_value = sign_test(best.switches, paper.switches)
    chosen = best if p_value < _SIGNIFICANT else paper
    return Suggestion(chosen.setting, best, paper, p_value)


def replay(
    frames: Sequence[RecordedFrame], tracker: KernelTracker, *, feature: str, clip_len: int
) -> list[dict[int, int]]:
    """Associate the key frames of one video.

    Args:
        frames: all frames of the video.
        tracker: the association; it is reset first.
        feature: "kernel" or "query".
        clip_len: T, the distance of key frames.

    Returns:
        Per key frame the slot of each track that a query shows.
    """
    tracker.reset()
    key_frames = []
    for frame in frames[::clip_len]:
        order = tracker.keyframe(frame.embeddings[feature], frame.scores).order
        slot_of = order.argsort().tolist()
        key_frames.append({track: slot_of[query] for track, query in frame.query_of.items()})
    return key_frames


def count_identities(key_frames: Sequence[Mapping[int, int]]) -> IdentityCounts:
    """Count the events of one video.

    Args:
        key_frames: per key frame the slot of each track that appears.

    Returns:
        The counts.
    """
    last: dict[int, tuple[int, int]] = {}  # track: number of its last key frame, slot in it
    counts = Counter()
    for number, slots in enumerate(key_frames):
        for track, slot in slots.items():
            if track in last:
                seen, slot_before = last[track]
                switched, returned = slot != slot_before, number > seen + 1
                counts["continuations"] += 1
                counts["switches"] += switched
                counts["returns"] += returned
                counts["return_switches"] += switched and returned
            last[track] = number, slot
    shared = Counter(pair for slots in key_frames for pair in slots.items())
    of_track, of_slot = Counter(), Counter()
    for (track, slot), times in shared.items():
        of_track[track] += times
        of_slot[slot] += times
    agreement = sum(
        times * times / (of_track[track] + of_slot[slot] - times)
        for (track, slot), times in shared.items()
    )
    return IdentityCounts(appearances=shared.total(), agreement=agreement, **counts)


def measure_similarities(
    frames: Sequence[RecordedFrame], *, feature: str, clip_len: int
) -> Similarities:
    """Compare the objects of one video over its key frames.

    Args:
        frames: all frames of the video.
        feature: "kernel" or "query".
        clip_len: T, the distance of key frames.

    Returns:
        All cosines.
    """
    found = Similarities([], [], [])
    last: dict[int, tuple[int, torch.Tensor]] = {}  # track: as in count_identities, unit embedding
    for number, frame in enumerate(frames[::clip_len]):
        units = F.normalize(frame.embeddings[feature], dim=1)
        current = {track: (number, units[query]) for track, query in frame.query_of.items()}
        for track, (_, unit) in current.items():
            for other, (seen, before) in last.items():
                kind = found.different
                if other == track:
                    kind = found.same if seen == number - 1 else found.same_after_gap
                kind.append(float(unit @ before))
        last |= current
    return found


def separation(same: Sequence[float], different: Sequence[float]) -> float:
    """Probability that a cosine of one object exceeds one of two objects (area under the ROC).

    Args:
        same: cosines.
        different: cosines.

    Returns:
        In [0, 1]; NaN where one of them is empty.
    """
    if not same or not different:
        return float("nan")
    ranks = rankdata([*same, *different])[: len(same)].sum()
    return float((ranks - len(same) * (len(same) + 1) / 2) / (len(same) * len(different)))


def sign_test(switches: Sequence[int], others: Sequence[int]) -> float:
    """How likely a difference at least as large is by chance, if neither association is better.

    Args:
        switches: identity switches with one association, per video.
        others: with another, on the same videos.

    Returns:
        Two-sided p-value of the sign test over the videos that differ; 1 if none does.
    """
    signs = [a < b for a, b in zip(switches, others, strict=True) if a != b]
    return float(binomtest(sum(signs), len(signs)).pvalue) if signs else 1.0
