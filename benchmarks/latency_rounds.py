"""Models and runtimes side by side, round after round, and the tables and numbers of them."""

import logging
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from latency_models import Candidate
from latency_work import (
    PreparedGraph,
    Timing,
    count_candidate,
    measure_peak,
    prepare_candidate,
    time_graph,
)
from processes import WorkerError

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
