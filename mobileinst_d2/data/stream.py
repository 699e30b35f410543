"""Endless training data that can start at any iteration.

Batch number n is a function of the seed alone: the same for any number of worker processes, and
the same whether the training reached n in one go or was killed and resumed on the way.
"""

import contextlib
import itertools
import logging
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np
import torch
from detectron2.data import DatasetFromList
from detectron2.data.build import trivial_batch_collator
from detectron2.utils import comm
from detectron2.utils.serialize import PicklableWrapper
from torch.utils.data import DataLoader, Dataset, Sampler

from .mappers.clip_mapper import visible_frames

__all__ = ["ClipDataset", "RatioSampler", "ResumableLoader", "derive_seed"]

logger = logging.getLogger(__name__)

# Records in a row that a mapper may refuse before the data set is taken for unusable.
MAX_REFUSALS = 20
# Draws of a set that `RatioSampler` makes at once.
_CHUNK = 1024


def derive_seed(seed: int, *position: int) -> int:
    """Mix a seed with a position, so that neighbouring positions share nothing.

    Args:
        seed: non-negative seed of the whole training.
        *position: non-negative integers, such as iteration and rank.

    Returns:
        A seed in [0, 2^32).
    """
    return int(np.random.SeedSequence([seed, *position]).generate_state(1)[0])


class ClipDataset(Dataset):
    """Map-style data set of the annotated frames of videos.

    The records are held once, serialised, so that loader processes share their memory; an element
    is the record of a video with the number of its ``reference_frame``.
    """

    def __init__(self, records: list[dict]) -> None:
        """Build the index of video records, each with at least one annotated frame."""
        pairs = [(i, t) for i, record in enumerate(records) for t in visible_frames(record)]
        self._records = DatasetFromList(records, copy=False)
        self._index = np.array(pairs, dtype=np.int32)  # (N, 2): position of the video, frame number
        # (height, width) of every element, in pixels.
        self.sizes = [(records[i]["height"], records[i]["width"]) for i, _ in pairs]
        logger.info("Training on %d frames of %d videos", len(self), len(records))

    def __len__(self) -> int:
        return len(self._index)

    def __getitem__(self, position: int) -> dict:
        video, frame = self._index[position].tolist()
        return {**self._records[video], "reference_frame": frame}


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


@contextlib.contextmanager
def _seeded_generators(seed: int) -> Iterator[None]:
    """Seed the global CPU generators of Python, NumPy and PyTorch, and put them back after."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    torch_state = torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    # Not torch.manual_seed: that would seed the GPUs too, which belong to the model.
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
        torch.set_rng_state(torch_state)


class _SeededSamples(Dataset):
    """Mapped records under keys (draw, index); the draw seeds the mapper's random choices."""

    def __init__(self, dataset: Dataset, mapper: Callable[[dict], dict | None], seed: int) -> None:
        self.dataset = dataset
        self.mapper = PicklableWrapper(mapper)
        self.seed = seed

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, key: tuple[int, int]) -> dict:
        draw, index = key
        with _seeded_generators(derive_seed(self.seed, draw)):
            for _ in range(MAX_REFUSALS):
                sample = self.mapper(self.dataset[index])
                if sample is not None:
                    return sample
                logger.warning("The mapper refused record %d; another one takes its place.", index)
                index = random.randrange(len(self.dataset))
        raise RuntimeError(
            f"The mapper refused {MAX_REFUSALS} records in a row; the last was {index} of "
            f"{len(self.dataset)}. Check the annotations of DATASETS.TRAIN."
        )


class ResumableLoader:
    """Endless iterable of batches, each a list of mapped records.

    Iterating is lazy: worker processes start when the first batch is asked for, so `start_at` may
    be called after ``iter``.
    """

    def __init__(
        self,
        dataset: Sequence[dict] | Dataset,
        mapper: Callable[[dict], dict | None],
        make_sampler: Callable[[int], Sampler],
        *,
        batch_size: int,
        groups: Sequence[int] | None = None,
        num_workers: int = 0,
        seed: int = 0,
        frames_per_epoch: int | None = None,
        frames_per_sample: int = 1,
    ) -> None:
        """Args are checked here, nothing is read yet.

        Args:
            dataset: the records.
            mapper: makes a training sample of a record. It may use the global random generators.
                None instead of a sample means that another record is drawn.
            make_sampler: makes, of a seed, an endless sampler of indices for this process, like
                Detectron2's `TrainingSampler`, which gives each process every world-size-th draw.
            batch_size: samples per batch of this process.
            groups: one group number per record; a batch holds records of one group only.
            num_workers: processes that map records; 0 maps in this process.
            seed: non-negative seed of order and augmentation.
            frames_per_epoch: frames that the network sees in an epoch; the number of records if
                None.
            frames_per_sample: frames that it sees of a mapped record.

        Raises:
            ValueError: if the data set is empty or the batch size not positive.
        """
        if len(dataset) == 0:
            raise ValueError("The training set has no records.")
        if batch_size < 1:
            raise ValueError(f"The batch size per process must be at least 1, not {batch_size}.")
        if groups is not None and len(groups) != len(dataset):
            raise ValueError(f"{len(groups)} group numbers for {len(dataset)} records.")
        if isinstance(dataset, list):
            # One array in memory that worker processes share instead of copying.
            dataset = DatasetFromList(dataset, copy=False)
        self.dataset = dataset
        self.mapper = mapper
        self.make_sampler = make_sampler
        self.batch_size = batch_size
        self.groups = groups
        self.num_workers = num_workers
        self.frames_per_epoch = len(dataset) if frames_per_epoch is None else frames_per_epoch
        self.frames_per_sample = frames_per_sample
        self.start_at(0, seed)

    def start_at(self, iteration: int, seed: int) -> None:
        """Choose where the next iterator begins.

        Args:
            iteration: batches to skip; they are counted, not loaded.
            seed: non-negative seed of order and augmentation.
        """
        self.iteration = iteration
        self.seed = seed

    def __iter__(self) -> Iterator[list[dict]]:
        """Yield batches from the chosen iteration on."""
        yield from DataLoader(
            _SeededSamples(self.dataset, self.mapper, self.seed),
            batch_sampler=itertools.islice(self._batches(), self.iteration, None),
            num_workers=self.num_workers,
            collate_fn=trivial_batch_collator,
            # Else it draws from the model's generator, once more in a resumed training.
            generator=torch.Generator(),
        )

    def _batches(self) -> Iterator[list[tuple[int, int]]]:
        """Yield batches of (draw, index); the draws of all processes together are 0, 1, 2, ..."""
        draws = itertools.count(comm.get_rank(), comm.get_world_size())
        buckets = defaultdict(list)
        for draw, index in zip(draws, self.make_sampler(self.seed)):  # noqa: B905 (endless)
            bucket = buckets[0 if self.groups is None else self.groups[index]]
            bucket.append((draw, index))
            if len(bucket) == self.batch_size:
                yield bucket.copy()
                bucket.clear()
