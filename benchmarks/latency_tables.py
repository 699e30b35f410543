"""The tables and numbers of a comparison of models and runtimes."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from latency_live import LiveRounds, LiveStages
from latency_rounds import Comparison, TimedRounds
from reporting import markdown_table

_MISSING = "–"
_STAGES = ("prepare", "network", "association", "masks")  # of a live step


def milliseconds(timed: TimedRounds) -> str:
    """Median and spread in milliseconds; a dash where it failed."""
    if timed.seconds is None:
        return _MISSING
    return f"{_digits(1000 * timed.seconds)} ± {100 * timed.spread:.0f} %"


def ratio_table(comparison: Comparison) -> str:
    """Size of each model, and its time over that of the reference in the same runtime.

    Args:
        comparison: after its rounds.

    Returns:
        Markdown.
    """
    rows = []
    for row in comparison.rows:
        counted = row.macs is not None
        sizes = (f"{row.macs / 1e9:.2f}", f"{row.params / 1e6:.2f}") if counted else (_MISSING,) * 2
        ratios = (_or_dash(comparison.ratio(row, x), "{:.2f}") for x in comparison.runtimes)
        rows.append((row.name, *sizes, *ratios))
    return markdown_table(("model", "GMAC", "params (M)", *comparison.runtimes), rows)


def milliseconds_table(comparison: Comparison) -> str:
    """CPU time of each model, and the fraction of the measured peak that it reaches.

    Args:
        comparison: after its rounds.

    Returns:
        Markdown.
    """
    headers = [text for runtime in comparison.runtimes for text in (f"{runtime} ms", "of peak")]
    rows = []
    for row in comparison.rows:
        cells = []
        for runtime in comparison.runtimes:
            fraction = comparison.fraction_of_peak(row, runtime)
            cells += [milliseconds(row.cell(runtime)), _or_dash(fraction, "{:.0%}")]
        rows.append((row.name, *cells))
    return markdown_table(("model", *headers), rows)


def breakdown_table(comparison: Comparison, stages: Mapping[str, TimedRounds]) -> str:
    """Parts of a network, then what follows it in Python, beside the whole network.

    Args:
        comparison: after its rounds; its reference is the whole network.
        stages: times by name, of any runtime.

    Returns:
        Markdown.
    """
    runtimes, whole = comparison.runtimes, comparison.reference_row
    headers = [text for runtime in runtimes for text in (runtime, f"{runtime} ms")]
    rows = []
    for row in comparison.rows:
        cells = [_MISSING if row.macs is None else f"{row.macs / 1e9:.2f}"]
        for runtime in runtimes:
            ratio = comparison.ratio(row, runtime)
            cells += [_or_dash(ratio, "{:.1%}"), milliseconds(row.cell(runtime))]
        rows.append((row.name, *cells))
    for name, timed in stages.items():
        cells = [_MISSING]
        for runtime in runtimes:
            seconds = timed.seconds, whole.cell(runtime).seconds
            ratio = None if None in seconds else seconds[0] / seconds[1]
            cells += [_or_dash(ratio, "{:.1%}"), milliseconds(timed)]
        rows.append((name, *cells))
    return markdown_table(("part", "GMAC", *headers), rows)


def live_table(lives: Sequence[LiveRounds]) -> str:
    """Time per frame of live tracking and how it divides into stages.

    Args:
        lives: after their rounds; the first of each folder is what its ratios refer to.

    Returns:
        Markdown.
    """
    rows = []
    first: dict[Path, LiveStages | None] = {}
    for live in lives:
        stages, reference = live.stages, first.setdefault(live.folder, live.stages)
        name = (str(live.folder), f"{live.clip_len}")
        if stages is None or reference is None:
            rows.append((*name, *(_MISSING,) * 8))
            continue
        shares = (f"{100 * getattr(stages, x) / stages.total:.1f} %" for x in _STAGES)
        rows.append(
            (
                *name,
                f"{stages.total / reference.total:.2f}",
                f"{_digits(1000 * stages.total)}",
                *shares,
                f"{100 * stages.share_after_network:.1f} %",
                f"{stages.instances:.1f}",
            )
        )
    headers = ("exported folder", "T", "ratio", "ms per frame", *_STAGES)
    return markdown_table((*headers, "association + masks", "instances"), rows)


def live_numbers(lives: Sequence[LiveRounds]) -> list[dict]:
    """All numbers of live tracking, for JSON."""
    return [
        {
            "folder": str(live.folder),
            "clip_len": live.clip_len,
            "cpu_seconds_per_frame": [stages._asdict() for stages in live.rounds],
            "share_after_network": live.stages and live.stages.share_after_network,
            "failure": live.failure,
        }
        for live in lives
    ]


def comparison_numbers(comparison: Comparison) -> dict:
    """All numbers, for JSON.

    Args:
        comparison: at any time.

    Returns:
        Seconds of each round, and what follows from them.
    """
    rows = [
        {
            "name": row.name,
            "macs": row.macs,
            "params": row.params,
            "cells": [
                {
                    "runtime": cell.runtime,
                    **rounds_numbers(cell),
                    "ratio": comparison.ratio(row, cell.runtime),
                    "fraction_of_peak": comparison.fraction_of_peak(row, cell.runtime),
                    "difference_to_pytorch": cell.difference,
                }
                for cell in row.cells
            ],
        }
        for row in comparison.rows
    ]
    return {
        "size": comparison.size,
        "reference": comparison.reference,
        "peak_gflops": comparison.peak,
        "rows": rows,
        "notes": comparison.notes(),
    }


def rounds_numbers(timed: TimedRounds) -> dict:
    """The numbers of what was timed once per round, for JSON."""
    return {
        "cpu_seconds": timed.cpu,
        "wall_seconds": timed.wall,
        "median_cpu_seconds": timed.seconds,
        "spread": timed.spread,
        "failure": timed.failure,
    }


def _or_dash(value: float | None, form: str) -> str:
    return _MISSING if value is None else form.format(value)


def _digits(value: float) -> str:
    """Three digits, and all those before the point."""
    return f"{value:.{max(0, 3 - len(f'{value:.0f}'))}f}"
