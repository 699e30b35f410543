"""What a measurement was made on, median times of calls, and tables."""

import argparse
import contextlib
import importlib.metadata
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from tabulate import tabulate

from mobileinst_core.arguments import whole_number


def add_counts(
    parser: argparse.ArgumentParser,
    counts: Sequence[tuple[str, int, str]],
    *,
    size: tuple[int, int],
    of: str,
) -> None:
    """Add options for how much is generated.

    Args:
        parser: of the benchmark.
        counts: name, default and meaning of each number.
        size: default height and width, the option ``--size``.
        of: what has that size, as in "a frame".
    """
    for name, default, text in counts:
        parser.add_argument(
            f"--{name}",
            type=whole_number(1),
            default=default,
            metavar="N",
            help=f"{text}, default {default}",
        )
    parser.add_argument(
        "--size",
        nargs=2,
        type=whole_number(32),
        metavar=("H", "W"),
        default=size,
        help=f"of {of}, default {size[0]} {size[1]}",
    )


def describe_machine() -> str:
    """Processor, number of its cores that this process may use, and versions, in one line.

    PyTorch is told if it is installed, and not imported.
    """
    processor = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        # Linux knows the name that platform does not tell.
        names = [x for x in information.read_text().splitlines() if x.startswith("model name")]
        processor = names[0].partition(":")[2].strip() if names else processor
    available = getattr(os, "sched_getaffinity", None)
    cores = len(available(0)) if available else os.cpu_count()
    found = [processor, f"cores: {cores}", platform.system(), f"Python {platform.python_version()}"]
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        found.append(f"torch {importlib.metadata.version('torch')}")
    return ", ".join(found)


def median_seconds(calls: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """The CPU time of calls that take turns, as the load of a machine changes.

    Args:
        calls: what to time, by name.
        repeats: rounds that count, after one that warms up.

    Returns:
        The median time of each in seconds.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats + 1):
        for name, call in calls.items():
            start = time.process_time()
            call()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def markdown_table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table with names on the left and numbers on the right.

    Args:
        headers: of the columns.
        rows: cells of each row.

    Returns:
        Markdown.
    """
    align = ["left"] + ["right"] * (len(headers) - 1)
    return tabulate(rows, headers, tablefmt="github", colalign=align, disable_numparse=True)
