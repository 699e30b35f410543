"""Batches are a function of seed and iteration, whatever else happens."""

import itertools
import random

import numpy as np
import pytest
import torch
from detectron2.data.samplers import TrainingSampler

from mobileinst_d2.data.stream import ResumableLoader

RECORDS = [{"index": i} for i in range(7)]


def draw_numbers(record):
    """A mapper that uses every global generator."""
    return {
        "index": record["index"],
        "python": random.random(),
        "numpy": float(np.random.rand()),
        "torch": float(torch.rand(())),
    }


def make_loader(mapper=draw_numbers, batch_size=2, num_workers=0, groups=None, seed=3):
    return ResumableLoader(
        RECORDS,
        mapper,
        lambda seed: TrainingSampler(len(RECORDS), seed=seed),
        batch_size=batch_size,
        groups=groups,
        num_workers=num_workers,
        seed=seed,
    )


def take(loader, count):
    return list(itertools.islice(iter(loader), count))


@pytest.mark.parametrize("start", [1, 4, 9])
def test_a_later_start_gives_the_same_batches(start):
    straight = take(make_loader(), 12)
    resumed = make_loader()
    resumed.start_at(start, 3)
    assert take(resumed, 12 - start) == straight[start:]


def test_batches_do_not_depend_on_the_number_of_workers():
    expected = take(make_loader(), 9)
    assert take(make_loader(num_workers=2), 9) == expected
    resumed = make_loader(num_workers=2)
    resumed.start_at(5, 3)
    assert take(resumed, 4) == expected[5:]


def test_the_start_may_move_after_iter():
    loader = make_loader()
    iterator = iter(loader)
    loader.start_at(4, 3)
    assert next(iterator) == take(make_loader(), 5)[4]


def test_a_record_is_augmented_differently_each_time():
    values = [s["numpy"] for b in take(make_loader(), 14) for s in b if s["index"] == 0]
    assert len(values) == 4
    assert len(set(values)) == 4


def test_mapping_leaves_the_generators_of_the_model_alone():
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    expected = (float(torch.rand(())), float(np.random.rand()), random.random())
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    take(make_loader(), 3)
    assert (float(torch.rand(())), float(np.random.rand()), random.random()) == expected


def test_groups_do_not_mix_and_still_resume():
    groups = [0, 1, 0, 1, 0, 1, 1]
    straight = take(make_loader(groups=groups), 15)
    for batch in straight:
        assert len({groups[sample["index"]] for sample in batch}) == 1
    resumed = make_loader(groups=groups)
    resumed.start_at(6, 3)
    assert take(resumed, 9) == straight[6:]


def test_processes_share_the_draws_of_one(monkeypatch):
    together = take(make_loader(batch_size=4), 3)
    halves = []
    for rank in (0, 1):
        for name in ("mobileinst_d2.data.stream.comm", "detectron2.utils.comm"):
            monkeypatch.setattr(f"{name}.get_rank", lambda rank=rank: rank)
            monkeypatch.setattr(f"{name}.get_world_size", lambda: 2)
        halves.append(take(make_loader(batch_size=2), 3))

    def by_number(samples):
        return sorted(samples, key=lambda sample: sample["numpy"])

    for whole, first, second in zip(together, *halves, strict=True):
        assert by_number(whole) == by_number(first + second)


def test_a_refused_record_is_replaced_the_same_way_each_time(caplog):
    def refuse_zero(record):
        return None if record["index"] == 0 else draw_numbers(record)

    batches = take(make_loader(refuse_zero), 7)
    assert all(sample["index"] != 0 for batch in batches for sample in batch)
    assert "refused record 0" in caplog.text
    resumed = make_loader(refuse_zero)
    resumed.start_at(3, 3)
    assert take(resumed, 4) == batches[3:]


def test_refusing_everything_is_an_error():
    with pytest.raises(RuntimeError, match="refused"):
        take(make_loader(lambda record: None), 1)
