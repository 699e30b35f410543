"""How long the stages of a loop over frames take."""

import statistics
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from tabulate import tabulate

__all__ = ["StageTimer"]

# Enough for any median; a camera may run for days.
_KEPT_FRAMES = 10_000


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

    def table(self, drawing: Iterable[str] = ("draw", "write")) -> str:
        """The medians as a table, with the frame rates that they mean.

        Args:
            drawing: stages that only serve to watch the results.
        """
        medians = self.medians()
        if not medians:
            return "no frame was timed"
        rows = [(stage, f"{1000 * seconds:.1f}") for stage, seconds in medians.items()]
        headers, align = ("stage", "median ms"), ("left", "right")
        table = tabulate(rows, headers=headers, colalign=align, disable_numparse=True)
        whole, undrawn = (1 / x["total"] for x in (medians, self.medians(without=drawing)))
        elapsed = self._last - self._first
        overlapped = f"{(self._count - 1) / elapsed:.1f}" if elapsed > 0 else "-"
        return (
            f"{table}\n{overlapped} frames per second with overlapping stages; one after another "
            f"{whole:.1f}, {undrawn:.1f} without drawing and writing (medians of "
            f"{len(self._frames)} frames)"
        )
