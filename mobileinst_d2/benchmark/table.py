"""Tables of measurements in Markdown, and their numbers for JSON."""

from collections.abc import Sequence

from tabulate import tabulate

from .latency import Comparison, TimedRounds

__all__ = [
    "comparison_numbers",
    "markdown_table",
    "milliseconds",
    "milliseconds_table",
    "ratio_table",
]

_MISSING = "–"


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
    runtimes = [cell.runtime for cell in comparison.rows[0].cells]
    rows = []
    for row in comparison.rows:
        counted = row.macs is not None
        sizes = (f"{row.macs / 1e9:.2f}", f"{row.params / 1e6:.2f}") if counted else (_MISSING,) * 2
        ratios = (_or_dash(comparison.ratio(row, runtime), "{:.2f}") for runtime in runtimes)
        rows.append((row.name, *sizes, *ratios))
    return markdown_table(("model", "GMAC", "params (M)", *runtimes), rows)


def milliseconds_table(comparison: Comparison) -> str:
    """CPU time of each model, and the fraction of the measured peak that it reaches.

    Args:
        comparison: after its rounds.

    Returns:
        Markdown.
    """
    runtimes = [cell.runtime for cell in comparison.rows[0].cells]
    headers = [text for runtime in runtimes for text in (f"{runtime} ms", "of peak")]
    rows = []
    for row in comparison.rows:
        cells = []
        for runtime in runtimes:
            fraction = comparison.fraction_of_peak(row, runtime)
            cells += [milliseconds(row.cell(runtime)), _or_dash(fraction, "{:.0%}")]
        rows.append((row.name, *cells))
    return markdown_table(("model", *headers), rows)


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
