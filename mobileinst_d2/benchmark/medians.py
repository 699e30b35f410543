"""Median times of calls."""

import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["median_seconds"]


def median_seconds(
    calls: Mapping[str, Callable[[], object]],
    repeats: int,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, float]:
    """Time calls that take turns, as the load of a machine changes.

    Args:
        calls: what to time, by name.
        repeats: rounds that count, after one that warms up.
        clock: of wall-clock time, or ``time.process_time``.

    Returns:
        The median time of each in seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = clock()
            call()
            seconds[name].append(clock() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}
