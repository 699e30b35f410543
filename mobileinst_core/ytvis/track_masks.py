"""The masks of tracks, read many at a time, and what two tracks share."""

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import NamedTuple

import numpy as np

from mobileinst_core.errors import UserError
from mobileinst_core.masks.rle import code_of
from mobileinst_core.masks.run_lengths import MaskError, read_runs

from .annotations import TrackEntry

__all__ = ["TrackMasks", "differing_pixels", "read_masks"]

# Characters or run lengths that are read together: enough to be fast, few enough for the
# processor's cache.
_BATCH = 150_000


class TrackMasks(NamedTuple):
    """The masks of a track, of which the pixels are numbered through from the first frame on.

    Attributes:
        area: mean number of pixels over the frames where the track has any; 0 if there are none.
        areas: (frames,) int64, pixels of each mask.
        spans: (frames, 2), the first pixel of each mask and the one after its last; anything where
            the area is 0.
        edges: (2 R,), the first pixel of each run and the one after its last.
    """

    area: float
    areas: np.ndarray
    spans: np.ndarray
    edges: np.ndarray


def read_masks(tracks: Iterable[TrackEntry]) -> Iterator[TrackMasks]:
    """Read the masks of annotated or predicted tracks.

    Args:
        tracks: the tracks, with as many masks as their videos have frames.

    Yields:
        The masks of each track.

    Raises:
        UserError: a mask is malformed; the message names the entry and the frame.
    """
    batch, size = [], 0
    for track in tracks:
        codes, frame_size = [], [track.video.height, track.video.width]
        try:
            for segmentation in track.segmentations:
                codes.append(code_of(segmentation, frame_size))
        except MaskError as error:
            raise UserError(f"{track.name}, frame {len(codes)}: {error}") from error
        batch.append((track, codes))
        size += len(codes) + sum(len(code) for code in codes if code is not None)
        if size > _BATCH:
            yield from _read_batch(batch)
            batch, size = [], 0
    yield from _read_batch(batch)


def _read_batch(batch: list[tuple[TrackEntry, list]]) -> Iterator[TrackMasks]:
    if not batch:
        return
    pixels = [track.video.height * track.video.width for track, codes in batch for _ in codes]
    try:
        runs = read_runs(list(chain.from_iterable(codes for _, codes in batch)), pixels)
    except MaskError as error:
        frames = [(track, frame) for track, codes in batch for frame in range(len(codes))]
        track, frame = frames[error.index]
        raise UserError(f"{track.name}, frame {frame}: {error}") from error
    starts = np.cumsum([0, *(track.video.length for track, _ in batch)])[:-1]
    present = np.add.reduceat(runs.areas > 0, starts, dtype=np.int64)
    means = (np.add.reduceat(runs.areas, starts) / present.clip(1)).tolist()
    rows, edges = runs.rows.tolist(), runs.edges()
    # The last run of a mask is empty if its last pixel is background.
    last = runs.rows[1:] - 1
    last -= (edges[last, 0] == edges[last, 1]) & (last > runs.rows[:-1])
    spans = np.stack((edges[runs.rows[:-1], 0], edges[last, 1]), axis=1)
    start = origin = 0
    for (track, _), mean in zip(batch, means, strict=True):
        video = track.video
        stop = start + video.length
        yield TrackMasks(
            mean,
            runs.areas[start:stop],
            spans[start:stop] - origin,
            edges[rows[start] : rows[stop]].ravel() - origin,
        )
        start, origin = stop, origin + video.height * video.width * video.length


def differing_pixels(first: TrackMasks, second: TrackMasks) -> int:
    """The pixels that belong to one of two tracks of a video, but not to both."""
    # From edge to edge, of either track, pixels belong to both or none and to one of them in turn.
    edges = np.concatenate((first.edges, second.edges))
    edges.sort()
    return int((edges[1::2] - edges[::2]).sum(dtype=np.int64))
