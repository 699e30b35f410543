"""Models and runtimes side by side, round after round, and the tables and numbers of them."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from latency_models import Candidate
from latency_work import (
    LiveRounds,
    LiveStages,
    PreparedGraph,
    Timing,
    count_candidate,
    measure_peak,
    prepare_candidate,
    time_graph,
)
from processes import WorkerError
from reporting import markdown_table

from mobileinst_core.errors import ConfigError

logger = logging.getLogger(__name__)

# Larger differences to PyTorch are mentioned, relative to the largest value of an output.
_NOTABLE_DIFFERENCE = 1e-3


@dataclass
class TimedRounds:
    """What was timed once per round.

    Attributes:
        cpu: CPU seconds of the fastest call of each round.
        wall: seconds that passed in the fastest call of each round.
        failure: why there are no more rounds, or none; None = nothing failed.
    """

    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)
    failure: str | None = None

    def add(self, timing: Timing) -> None:
        """Take up the calls of one round."""
        self.cpu.append(min(timing.cpu))
        self.wall.append(min(timing.wall))

    @property
    def seconds(self) -> float | None:
        """Median CPU time over the rounds; None after a failure."""
        return median(self.cpu) if self.cpu and self.failure is None else None

    @property
    def spread(self) -> float | None:
        """Half the range of the rounds, relative to the median; None after a failure."""
        seconds = self.seconds
        return None if seconds is None else (max(self.cpu) - min(self.cpu)) / 2 / seconds


@dataclass
class Cell(TimedRounds):
    """A model in a runtime.

    Attributes:
        runtime: name of the runtime.
        note: what has to be known to read the numbers; may be empty.
        difference: largest relative difference to PyTorch; None if not known.
    """

    runtime: str = ""
    note: str = ""
    difference: float | None = None
    prepared: PreparedGraph | None = None


@dataclass
class Row:
    """A model in all runtimes.

    Attributes:
        name: of the model.
        macs: multiply-accumulates; None where they cannot be counted.
        params: number of parameters; likewise.
        cells: one per runtime, in order.
        failure: why ``macs`` is None.
    """

    name: str
    cells: list[Cell]
    macs: int | None = None
    params: int | None = None
    failure: str | None = None

    def cell(self, runtime: str) -> Cell:
        """The cell of a runtime."""
        return next(cell for cell in self.cells if cell.runtime == runtime)


class Comparison:
    """Prepares every model for every runtime, then times all of them in turn.

    What fails keeps its reason, and is left out from then on; the others go on.

    Attributes:
        runtimes: in the order of the cells of each row.
        rows: one per model, in order.
        reference: name of the row that ratios refer to.
        peak: GFLOP/s of each way to measure the core's peak, the highest of all rounds.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate],
        runtimes: Sequence[str],
        size: tuple[int, int],
        folder: Path,
        run: Callable[..., object],
        *,
        warm_ups: int = 2,
        repeats: int = 5,
        reference: str | None = None,
    ) -> None:
        """Set up; nothing runs yet.

        Args:
            candidates: the models, with different names.
            runtimes: names of the runtimes.
            size: (H, W) of the input.
            folder: an empty folder for files.
            run: calls a function with arguments in a new process, pinned and with one thread;
                raises ``WorkerError``.
            warm_ups: calls per process that do not count, at least 1.
            repeats: calls per process that count.
            reference: name of the row that ratios refer to; None = the first.

        Raises:
            ConfigError: if there is no candidate, two have one name, or none that of the reference.
        """
        names = [candidate.name for candidate in candidates]
        if not names:
            raise ConfigError("there is no model to time")
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ConfigError(f"two rows have the name {', '.join(twice)}")
        self.reference = names[0] if reference is None else reference
        if self.reference not in names:
            raise ConfigError(
                f"the reference {self.reference!r} is no row; the rows are {', '.join(names)}"
            )
        self.candidates = list(candidates)
        self.runtimes = tuple(runtimes)
        self.rows = [Row(name, [Cell(runtime=x) for x in runtimes]) for name in names]
        self.peak: dict[str, float] = {}
        self.size = size
        self._folder = folder
        self._run = run
        self._calls = warm_ups, repeats

    @property
    def reference_row(self) -> Row:
        """The row that ratios refer to."""
        return next(row for row in self.rows if row.name == self.reference)

    @property
    def highest_peak(self) -> float | None:
        """The measured peak in FLOP/s; None before the first round."""
        return 1e9 * max(self.peak.values()) if self.peak else None

    def prepare(self) -> None:
        """Count and write every model, for every runtime."""
        for number, (candidate, row) in enumerate(zip(self.candidates, self.rows, strict=True), 1):
            logger.info("preparing %d/%d: %s", number, len(self.rows), row.name)
            try:
                row.macs, row.params = self._run(count_candidate, candidate, self.size)
            except WorkerError as error:
                row.failure = str(error)
            for cell in row.cells:
                folder = self._folder / f"{number}-{cell.runtime}"
                folder.mkdir()
                try:
                    cell.prepared = self._run(
                        prepare_candidate, candidate, self.size, cell.runtime, folder
                    )
                    cell.note = cell.prepared.note
                except WorkerError as error:
                    self._fail(row, cell, error)

    def run_round(self) -> None:
        """Time everything once, each in its own process, and the peak."""
        try:
            rates = self._run(measure_peak)
        except WorkerError as error:
            logger.warning("the peak cannot be measured: %s", error)
            rates = {}
        for name, rate in rates.items():
            self.peak[name] = max(rate, self.peak.get(name, 0.0))
        for row in self.rows:
            for cell in row.cells:
                if cell.failure is None:
                    self._time(row, cell)

    def _time(self, row: Row, cell: Cell) -> None:
        try:
            timing = self._run(time_graph, cell.prepared, cell.runtime, *self._calls)
        except WorkerError as error:
            self._fail(row, cell, error)
            return
        cell.add(timing)
        cell.difference = timing.difference
        logger.info("%s in %s: %.1f ms", row.name, cell.runtime, 1000 * cell.cpu[-1])

    def _fail(self, row: Row, cell: Cell, error: WorkerError) -> None:
        # The folder is gone when the message is read.
        cell.failure = str(error).replace(f"{self._folder}/", "")
        logger.warning("%s in %s: %s", row.name, cell.runtime, cell.failure)

    def ratio(self, row: Row, runtime: str) -> float | None:
        """Time of a row over that of the reference, in one runtime; None where one is missing."""
        seconds, reference = row.cell(runtime).seconds, self.reference_row.cell(runtime).seconds
        return None if None in (seconds, reference) else seconds / reference

    def fraction_of_peak(self, row: Row, runtime: str) -> float | None:
        """Arithmetic per time over the measured peak; None where a part of it is missing."""
        seconds = row.cell(runtime).seconds
        if None in (seconds, row.macs, self.highest_peak):
            return None
        return 2 * row.macs / seconds / self.highest_peak

    def notes(self) -> list[str]:
        """What failed, and what has to be known to read the numbers."""
        places: dict[str, dict[str, list[str]]] = {}  # runtimes by row, by text
        for row in self.rows:
            if row.failure:
                places.setdefault(f"not counted: {row.failure}", {})[row.name] = []
            for cell in row.cells:
                for text in _cell_notes(cell):
                    places.setdefault(text, {}).setdefault(row.name, []).append(cell.runtime)
        return [
            f"{'; '.join(_place(*place) for place in where.items())}: {text}"
            for text, where in places.items()
        ]


def _place(name: str, runtimes: Sequence[str]) -> str:
    return f"{name} ({', '.join(runtimes)})" if runtimes else name


def _cell_notes(cell: Cell) -> Iterable[str]:
    if cell.failure:
        yield f"failed: {cell.failure}"
        return
    if cell.note:
        yield cell.note
    if cell.difference is not None and not cell.difference < _NOTABLE_DIFFERENCE:
        yield (
            f"outputs differ from PyTorch's by up to {cell.difference:.1g} of the largest value; "
            "with random weights objects have nearly equal scores, and small differences can "
            "change their order"
        )


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
