"""Recorded videos whose objects and kernels are written down, for tests of the association."""

from collections.abc import Sequence
from typing import NamedTuple

import torch

SHOWN, BACKGROUND = 0.9, 0.05


class RecordedFrame(NamedTuple):
    """Kernels (N, D) and scores (N, 1) of a frame."""

    kernels: torch.Tensor
    scores: torch.Tensor


def record_script(script: Sequence[Sequence[int | None]], num_queries: int) -> list[RecordedFrame]:
    """Record a video in which objects are out of sight at times.

    Every object has a direction of its own, which the query that shows it takes; a query that
    shows none takes a direction that is its own too. All directions are orthogonal.

    Args:
        script: per frame the query that shows each object, None where it is out of sight.
        num_queries: N.

    Returns:
        The frames.
    """
    num_objects = len(script[0])
    directions = torch.eye(num_objects + num_queries)
    frames = []
    for queries in script:
        kernels = directions[num_objects:].clone()
        scores = torch.full((num_queries, 1), BACKGROUND)
        for track, query in enumerate(queries):
            if query is not None:
                kernels[query], scores[query] = directions[track], SHOWN
        frames.append(RecordedFrame(kernels, scores))
    return frames


# Two objects stay in sight; their queries change places in the middle.
CROSSING = [[0, 1], [0, 1], [1, 0], [1, 0]]
# The first object comes back on another query, and its old one shows background meanwhile.
RETURN_ON_ANOTHER_QUERY = [[0, 1], [0, 1], [None, 1], [None, 1], [2, 1], [2, 1]]
RETURN_ON_ITS_QUERY = [[0, 1], [0, 1], [None, 1], [None, 1], [0, 1], [0, 1]]
