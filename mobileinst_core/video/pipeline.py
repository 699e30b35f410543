"""Stages of a loop over frames: in threads, so that they overlap, and how long each takes."""

import statistics
import threading
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

from tabulate import tabulate

__all__ = ["AheadIterator", "StageTimer"]

Item = TypeVar("Item")

# Between looks at signals such as Ctrl-C.
_LOOK_SECONDS = 0.1
# Enough for any median; a camera may run for days.
_KEPT_FRAMES = 10_000


class AheadIterator(Iterator[Item]):
    """Runs an iterator in a thread, a few items ahead of whoever takes them.

    Items, their order and errors are those of the iterator. Several of these make a pipeline: each
    runs a generator over the one before.
    """

    def __init__(
        self,
        items: Iterable[Item],
        *,
        capacity: int = 2,
        drop: bool = False,
        patience: float | None = None,
        name: str = "ahead",
    ) -> None:
        """Start to iterate.

        Args:
            items: what to iterate; from now on only by this object.
            capacity: items that wait at most.
            drop: when so many wait, drop the oldest instead of pausing. So a slow consumer of live
                items skips some instead of lagging ever further behind.
            patience: seconds to wait at the end for an item that is being made; None = as long as
                it takes.
            name: of the thread.
        """
        self.dropped = 0
        self._changed = threading.Condition()
        self._waiting: deque[Item] = deque()
        self._capacity, self._drop, self._patience = capacity, drop, patience
        self._stopped = self._ended = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(items,), name=name, daemon=True)
        self._thread.start()

    def __next__(self) -> Item:
        """The next item; waits for one.

        Raises:
            StopIteration: the items ended, or `close` was called.
            BaseException: what the iterator raised, after its last item.
        """
        with self._changed:
            while not (self._waiting or self._ended or self._stopped):
                # Where a wait without an end cannot be interrupted, Ctrl-C would do nothing.
                self._changed.wait(_LOOK_SECONDS)
            if self._waiting:
                item = self._waiting.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None:
                raise self._error
            raise StopIteration

    def close(self) -> bool:
        """End the thread, after the item that it is at; those that wait are lost.

        Returns:
            False if it does not end, since the iterator does not return; it dies with the process.
        """
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()
        self._thread.join(self._patience)
        return not self._thread.is_alive()

    def __enter__(self) -> "AheadIterator[Item]":
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _run(self, items: Iterable[Item]) -> None:
        try:
            for item in items:
                self._hand_over(item)
                if self._stopped:
                    break
        except BaseException as error:  # raised where the items are taken
            self._error = error
        finally:
            # Generators release what they hold in the thread that runs them.
            if self._stopped and hasattr(items, "close"):
                items.close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _hand_over(self, item: Item) -> None:
        with self._changed:
            if self._drop and len(self._waiting) == self._capacity:
                self._waiting.popleft()
                self.dropped += 1
            while len(self._waiting) == self._capacity and not self._stopped:
                self._changed.wait()
            if not self._stopped:
                self._waiting.append(item)
                self._changed.notify_all()


# Stages that only serve to watch the results.
_DRAWING = ("draw", "write")


class StageTimer:
    """Collects the seconds of each stage for each frame, and shows their medians."""

    def __init__(self) -> None:
        """Start without frames."""
        self._frames: deque[Counter[str]] = deque(maxlen=_KEPT_FRAMES)
        self._current: Counter[str] = Counter()
        self._count = 0
        self._first = self._last = 0.0

    def start_frame(self, seconds: Mapping[str, float]) -> None:
        """Begin with a frame; what is measured from now on belongs to it.

        Args:
            seconds: what its stages took up to here, in other threads perhaps.
        """
        self._last = time.perf_counter()
        self._first = self._first if self._count else self._last
        self._count += 1
        self._current = Counter(seconds)
        self._frames.append(self._current)

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        """Measure a block as a part of a stage."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._current[stage] += time.perf_counter() - start

    def medians(self, *, without: Iterable[str] = ()) -> dict[str, float]:
        """Medians over the frames.

        Args:
            without: stages to leave out.

        Returns:
            Seconds per stage in the order of their first appearance, a stage counting as 0 in
            frames without it, and last the "total".
        """
        left_out = set(without)
        stages = [s for s in dict.fromkeys(s for f in self._frames for s in f) if s not in left_out]
        if not stages:
            return {}
        medians = {s: statistics.median(f[s] for f in self._frames) for s in stages}
        medians["total"] = statistics.median(sum(f[s] for s in stages) for f in self._frames)
        return medians

    def table(self) -> str:
        """The medians as a table, with the frame rates that they mean."""
        medians = self.medians()
        if not medians:
            return "no frame was timed"
        rows = [(stage, f"{1000 * seconds:.1f}") for stage, seconds in medians.items()]
        headers, align = ("stage", "median ms"), ("left", "right")
        table = tabulate(rows, headers=headers, colalign=align, disable_numparse=True)
        whole, undrawn = (1 / x["total"] for x in (medians, self.medians(without=_DRAWING)))
        elapsed = self._last - self._first
        overlapped = f"{(self._count - 1) / elapsed:.1f}" if elapsed > 0 else "-"
        return (
            f"{table}\n{overlapped} frames per second with overlapping stages; one after another "
            f"{whole:.1f}, {undrawn:.1f} without drawing and writing (medians of "
            f"{len(self._frames)} frames)"
        )
