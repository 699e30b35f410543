"""The masks of tracks, read many at a time, and what two tracks share."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NamedTuple

import numpy as np

from mobileinst_core.masks.rle import code_of
from mobileinst_core.masks.run_lengths import MaskError, read_runs

__all__ = ["TrackMasks", "Video", "differing_pixels", "read_masks"]

# Characters or run lengths that are read together: enough to be fast, few enough for the
# processor's cache.
_BATCH = 150_000


@dataclass(frozen=True)
class Video:
    """Size of one video: pixels and frames."""

    height: int
    width: int
    length: int


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


def read_masks(
    entries: Sequence[dict[str, Any]],
    indices: Iterable[int],
    videos: Mapping[int, Video],
    where: Callable[[int], str],
) -> Iterator[TrackMasks]:
    """Read the masks of annotated or predicted tracks.

    Args:
        entries: of the annotation or results format.
        indices: which of them, and in which order.
        videos: by video id.
        where: words for an entry, by its index, for messages.

    Yields:
        The masks of each track.

    Raises:
        ValueError: a mask is malformed; the message names the entry and the frame.
    """
    batch, size = [], 0
    for index in indices:
        video = videos[entries[index]["video_id"]]
        codes, frame_size = [], [video.height, video.width]
        try:
            for segmentation in entries[index]["segmentations"]:
                codes.append(code_of(segmentation, frame_size))
        except MaskError as error:
            raise ValueError(f"{where(index)}, frame {len(codes)}: {error}") from error
        batch.append((index, video, codes))
        size += len(codes) + sum(map(len, filter(None, codes)))
        if size > _BATCH:
            yield from _read_batch(batch, where)
            batch, size = [], 0
    yield from _read_batch(batch, where)


def _read_batch(
    batch: list[tuple[int, Video, list]], where: Callable[[int], str]
) -> Iterator[TrackMasks]:
    if not batch:
        return
    pixels = [video.height * video.width for _, video, codes in batch for _ in codes]
    try:
        runs = read_runs(list(chain.from_iterable(codes for _, _, codes in batch)), pixels)
    except MaskError as error:
        frames = [(index, frame) for index, _, codes in batch for frame in range(len(codes))]
        index, frame = frames[error.index]
        raise ValueError(f"{where(index)}, frame {frame}: {error}") from error
    starts = np.cumsum([0, *(video.length for _, video, _ in batch)])[:-1]
    present = np.add.reduceat(runs.areas > 0, starts, dtype=np.int64)
    means = (np.add.reduceat(runs.areas, starts) / present.clip(1)).tolist()
    rows = runs.rows.tolist()
    # The last run of a mask is empty if its last pixel is background.
    last = runs.rows[1:] - 1
    last -= (runs.edges[last, 0] == runs.edges[last, 1]) & (last > runs.rows[:-1])
    spans = np.stack((runs.edges[runs.rows[:-1], 0], runs.edges[last, 1]), axis=1)
    start = origin = 0
    for (_, video, _), mean in zip(batch, means, strict=True):
        stop = start + video.length
        yield TrackMasks(
            mean,
            runs.areas[start:stop],
            spans[start:stop] - origin,
            runs.edges[rows[start] : rows[stop]].ravel() - origin,
        )
        start, origin = stop, origin + video.height * video.width * video.length


def differing_pixels(first: TrackMasks, second: TrackMasks) -> int:
    """The pixels that belong to one of two tracks of a video, but not to both."""
    # From edge to edge, of either track, pixels belong to both or none and to one of them in turn.
    edges = np.concatenate((first.edges, second.edges))
    edges.sort()
    return int((edges[1::2] - edges[::2]).sum(dtype=np.int64))
