"""Median times of calls."""

import statistics
import time
from collections.abc import Callable, Mapping

__all__ = ["median_seconds"]


def median_seconds(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Time calls that take turns, as the load of a machine changes.

    Args:
        calls: what to time, by name.
        repeats: rounds that count, after one that warms up.

    Returns:
        The median wall-clock time of each in seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}
