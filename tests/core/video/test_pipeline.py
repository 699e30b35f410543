"""Iterators in threads, and medians of stages on a clock that the test moves."""

import threading

import pytest

from mobileinst_core.video import pipeline
from mobileinst_core.video.pipeline import AheadIterator, StageTimer


def test_items_that_nobody_took_are_dropped_and_counted():
    busy, done, end = threading.Event(), threading.Event(), threading.Event()

    def camera():
        yield 1
        busy.wait(10)
        yield from (2, 3, 4)
        done.set()
        end.wait(10)

    items = AheadIterator(camera(), capacity=1, drop=True)
    assert next(items) == 1
    assert items.dropped == 0
    busy.set()
    done.wait(10)
    assert next(items) == 4
    assert items.dropped == 2
    end.set()
    assert list(items) == []
    assert items.close()


def test_an_iterator_that_hangs_does_not_hang_the_program():
    release = threading.Event()

    def camera():
        yield 0
        release.wait(10)

    items = AheadIterator(camera(), capacity=1, drop=True, patience=0.01)
    next(items)
    assert not items.close()
    release.set()


def test_items_wait_for_a_slow_consumer_and_keep_their_order():
    made = []

    def numbers():
        for number in range(20):
            made.append(number)
            yield number

    items = AheadIterator(numbers(), capacity=3)
    taken = []
    for item in items:
        # Three wait, and one is at the door.
        assert len(made) <= len(taken) + 1 + 3 + 1
        taken.append(item)
    assert taken == list(range(20))
    assert items.dropped == 0


def test_closing_a_pipeline_ends_all_its_threads_and_closes_its_generators():
    closed = []

    def numbers():
        try:
            number = 0
            while True:
                yield number
                number += 1
        finally:
            closed.append(threading.current_thread().name)

    before = threading.active_count()
    with (
        AheadIterator(numbers(), name="first") as first,
        AheadIterator((2 * number for number in first), name="second") as second,
    ):
        assert [next(second) for _ in range(5)] == [0, 2, 4, 6, 8]
    assert closed == ["first"]
    assert threading.active_count() == before


@pytest.mark.parametrize("error", [ValueError("no memory"), KeyboardInterrupt()])
def test_errors_of_a_stage_come_out_of_the_pipeline_behind_what_was_done(error):
    def failing():
        yield from (1, 2)
        raise error

    first = AheadIterator(failing())
    with first, AheadIterator(number for number in first) as second:
        assert [next(second), next(second)] == [1, 2]
        with pytest.raises(type(error)) as caught:
            next(second)
    assert caught.value is error


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(pipeline, "time", clock)
    return clock


def test_stages_are_summed_within_a_frame_and_their_medians_taken_over_frames(clock):
    timer = StageTimer()
    for number in range(3):
        timer.start_frame({"read": 1.0, "network": 10.0 * (number + 1)})
        for _ in range(2):
            with timer.measure("draw"):
                clock.now += 2.0
        if number == 2:
            with timer.measure("write"):
                clock.now += 5.0
        clock.now += 100.0  # belongs to no stage
    assert timer.medians() == {"read": 1, "network": 20, "draw": 4, "write": 0, "total": 25}
    assert timer.medians(without=["draw", "write"])["total"] == 21
    table = timer.table()
    assert "network      20000.0" in table
    assert "0.0 without drawing and writing (medians of 3 frames)" in table
