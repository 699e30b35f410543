"""Which record comes next, where data sets are mixed."""

import itertools
from collections.abc import Iterator, Sequence

import torch
from detectron2.utils import comm
from torch.utils.data import Sampler

from .stream import derive_seed

__all__ = ["RatioSampler"]

# Draws of a set made at once.
_CHUNK = 1024


class RatioSampler(Sampler):
    """Endless indices into concatenated data sets, a given share from each.

    Each draw chooses a set at random, and takes the next record of that set in an order shuffled
    again whenever the set is through. Like Detectron2's samplers each process gets every
    world-size-th draw of the same order, which is a function of the seed alone.
    """

    def __init__(self, sizes: Sequence[int], ratio: Sequence[float], *, seed: int) -> None:
        """Keep the settings.

        Args:
            sizes: number of records of each set, in the order of concatenation.
            ratio: share of each set, positive; need not sum to 1.
            seed: non-negative seed, the same in all processes.
        """
        self._sizes = list(sizes)
        self._ratio = torch.tensor(list(ratio), dtype=torch.float64)
        self._seed = seed

    def __iter__(self) -> Iterator[int]:
        return itertools.islice(self._all(), comm.get_rank(), None, comm.get_world_size())

    def _all(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self._seed)
        starts = itertools.accumulate(self._sizes[:-1], initial=0)
        streams = [
            self._shuffled(start, size, number)
            for number, (start, size) in enumerate(zip(starts, self._sizes, strict=True))
        ]
        while True:
            chosen = torch.multinomial(self._ratio, _CHUNK, replacement=True, generator=generator)
            for number in chosen.tolist():
                yield next(streams[number])

    def _shuffled(self, start: int, size: int, number: int) -> Iterator[int]:
        generator = torch.Generator().manual_seed(derive_seed(self._seed, number))
        while True:
            yield from (torch.randperm(size, generator=generator) + start).tolist()
