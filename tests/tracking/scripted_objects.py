"""Recorded videos whose objects and embeddings are written down, for tests of the association."""

from collections.abc import Sequence

import torch

from mobileinst_d2.tracking.calibration import RecordedFrame

SHOWN, BACKGROUND = 0.9, 0.05


def record_script(
    script: Sequence[Sequence[int | None]],
    num_queries: int,
    *,
    noise: float = 0.0,
    shuffle: bool = False,
    seed: int = 0,
) -> list[RecordedFrame]:
    """Record a video in which objects are out of sight at times.

    Every object has a direction of its own, which the query that shows it takes; a query that
    shows none takes a direction that is its own too. All directions are orthogonal.

    Args:
        script: per frame the query that shows each object, None where it is out of sight.
        num_queries: N.
        noise: standard deviation of normal noise on every embedding, relative to their length.
        shuffle: put the queries of each frame into another random order.
        seed: of noise and orders.

    Returns:
        The frames; both features are alike.
    """
    generator = torch.Generator().manual_seed(seed)
    num_objects = len(script[0])
    directions = torch.eye(num_objects + num_queries)
    frames = []
    for queries in script:
        embeddings = directions[num_objects:].clone()
        scores = torch.full((num_queries, 1), BACKGROUND)
        order = torch.randperm(num_queries, generator=generator)
        place_of = order.argsort() if shuffle else torch.arange(num_queries)
        query_of = {}
        for track, query in enumerate(queries):
            if query is not None:
                embeddings[query], scores[query] = directions[track], SHOWN
                query_of[track] = int(place_of[query])
        embeddings += noise * torch.randn(embeddings.shape, generator=generator)
        embeddings, scores = embeddings[place_of.argsort()], scores[place_of.argsort()]
        frames.append(RecordedFrame({"kernel": embeddings, "query": embeddings}, scores, query_of))
    return frames


# Two objects stay in sight; their queries change places in the middle.
CROSSING = [[0, 1], [0, 1], [1, 0], [1, 0]]
# The first object comes back on another query, and its old one shows background meanwhile.
RETURN_ON_ANOTHER_QUERY = [[0, 1], [0, 1], [None, 1], [None, 1], [2, 1], [2, 1]]
RETURN_ON_ITS_QUERY = [[0, 1], [0, 1], [None, 1], [None, 1], [0, 1], [0, 1]]
# Both leave and come back on each other's query.
EXCHANGE_OUT_OF_SIGHT = [[0, 1], [0, 1], [None, None], [None, None], [1, 0], [1, 0]]


def random_script(
    num_frames: int, num_objects: int, num_queries: int, seed: int
) -> list[list[int | None]]:
    """Objects that are all in sight at first, leave at random and come back on any free query."""
    generator = torch.Generator().manual_seed(seed)
    places: list[int | None] = list(range(num_objects))
    script = [list(places)]
    for _ in range(num_frames - 1):
        for track in range(num_objects):
            if torch.rand(1, generator=generator) < 0.3:
                free = [q for q in range(num_queries) if q not in places]
                pick = int(torch.randint(len(free), (1,), generator=generator))
                places[track] = free[pick] if places[track] is None else None
        script.append(list(places))
    return script
