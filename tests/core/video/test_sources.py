"""The newest item of an iterator that does not wait."""

import threading

import pytest

from mobileinst_core.video.sources import LatestIterator


def test_items_that_nobody_took_are_dropped_and_counted():
    busy, done, end = threading.Event(), threading.Event(), threading.Event()

    def camera():
        yield 1
        busy.wait(10)
        yield from (2, 3, 4)
        done.set()
        end.wait(10)

    items = LatestIterator(camera())
    assert next(items) == 1
    assert items.dropped == 0
    busy.set()
    done.wait(10)
    assert next(items) == 4
    assert items.dropped == 2
    end.set()
    assert list(items) == []
    assert items.close()


def test_nothing_is_dropped_while_the_consumer_keeps_up():
    taken = threading.Semaphore(0)

    def camera():
        for number in range(50):
            yield number
            taken.acquire(timeout=10)

    items = LatestIterator(camera())
    for number in range(50):
        assert next(items) == number
        taken.release()
    assert items.dropped == 0


def test_errors_come_after_the_last_item():
    ended = threading.Event()

    def camera():
        try:
            yield 1
            raise RuntimeError("unplugged")
        finally:
            ended.set()

    items = LatestIterator(camera())
    ended.wait(10)
    assert next(items) == 1
    with pytest.raises(RuntimeError, match="unplugged"):
        next(items)


def test_closing_ends_the_thread():
    def camera():
        while True:
            yield 0

    before = threading.active_count()
    items = LatestIterator(camera())
    next(items)
    assert items.close()
    assert threading.active_count() == before


def test_an_iterator_that_hangs_does_not_hang_the_program(monkeypatch):
    monkeypatch.setattr("mobileinst_core.video.sources._JOIN_SECONDS", 0.01)
    release = threading.Event()

    def camera():
        yield 0
        release.wait(10)

    items = LatestIterator(camera())
    next(items)
    assert not items.close()
    release.set()
