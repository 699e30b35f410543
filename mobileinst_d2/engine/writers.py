"""Where the numbers of a training go beside the terminal, JSON and TensorBoard."""

import csv
import importlib
import json
import math
import os
from collections import defaultdict
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter, JSONWriter, get_event_storage

from mobileinst_core.errors import ConfigError
from mobileinst_core.files import replacing
from mobileinst_d2.utils.config_keys import flatten

__all__ = ["CSVWriter", "MLflowWriter", "WandbWriter", "build_writers", "write_null_for_nan"]

# Iterations that are smoothed over, as Detectron2's writers do.
_WINDOW = 20


class _NewScalars(EventWriter):
    """A writer that gets what has come since it wrote last, smoothed."""

    def __init__(self) -> None:
        self._last_write = -1

    def write(self) -> None:
        """Log what is new, by iteration."""
        rows: dict[int, dict[str, float]] = defaultdict(dict)
        latest = get_event_storage().latest_with_smoothing_hint(_WINDOW)
        for name, (value, iteration) in latest.items():
            if iteration > self._last_write:
                rows[iteration][name] = value
        for iteration in sorted(rows):
            self.log(iteration, rows[iteration])
            self._last_write = iteration

    def log(self, iteration: int, values: dict[str, float]) -> None:
        """Write the values of one iteration."""
        raise NotImplementedError


class CSVWriter(_NewScalars):
    """A table for spreadsheets: one row per iteration that was written, one column per number.

    A column that comes later is added to the rows before. A resumed training continues the table.
    """

    def __init__(self, path: str) -> None:
        """Open the table in an existing folder."""
        super().__init__()
        self._path = path
        self._columns = ["iteration"]
        if os.path.isfile(path):
            with open(path, newline="", encoding="utf-8") as file:
                self._columns = next(csv.reader(file), self._columns)

    def log(self, iteration: int, values: dict[str, float]) -> None:
        """Append a row."""
        new = sorted(values.keys() - set(self._columns))
        if new or not os.path.isfile(self._path):
            self._add_columns(new)
        with open(self._path, "a", newline="", encoding="utf-8") as file:
            csv.DictWriter(file, self._columns).writerow({"iteration": iteration, **values})

    def _add_columns(self, names: list[str]) -> None:
        rows = []
        if os.path.isfile(self._path):
            with open(self._path, newline="", encoding="utf-8") as file:
                rows = list(csv.DictReader(file))
        self._columns += names
        with (
            replacing(Path(self._path)) as partial,
            partial.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, self._columns)
            writer.writeheader()
            writer.writerows(rows)


def write_null_for_nan(writer: JSONWriter) -> JSONWriter:
    """Let Detectron2's ``metrics.json`` have ``null`` for what is not finite: JSON has no NaN.

    The writer is changed, and returned.
    """
    writer._file_handle = _StrictLines(writer._file_handle)
    return writer


class _StrictLines:
    """A file to which lines of JSON are written."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, line: str) -> None:
        values = json.loads(line)
        strict = {name: value if math.isfinite(value) else None for name, value in values.items()}
        self._file.write(json.dumps(strict, sort_keys=True) + "\n")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


class WandbWriter(_NewScalars):
    """Weights & Biases. Its own environment variables choose project, name and mode."""

    def __init__(self, cfg: CfgNode) -> None:
        """Begin a run, or resume that of the same folder; the config is logged with it."""
        super().__init__()
        wandb = _import("wandb")
        name = os.path.basename(os.path.abspath(cfg.OUTPUT_DIR))
        self._run = wandb.init(
            dir=cfg.OUTPUT_DIR, name=name, id=_run_id(cfg), resume="allow", config=flatten(cfg)
        )

    def log(self, iteration: int, values: dict[str, float]) -> None:
        """Send the values."""
        self._run.log(values, step=iteration)

    def close(self) -> None:
        """End the run."""
        self._run.finish()


class MLflowWriter(_NewScalars):
    """MLflow. Its own environment variables choose server, experiment and run."""

    def __init__(self, cfg: CfgNode) -> None:
        """Begin a run, whose parameters are the keys of the config."""
        super().__init__()
        self._mlflow = _import("mlflow")
        self._mlflow.start_run(run_name=os.path.basename(os.path.abspath(cfg.OUTPUT_DIR)))
        # Parameters are short texts there.
        self._mlflow.log_params({name: str(value)[:250] for name, value in flatten(cfg).items()})

    def log(self, iteration: int, values: dict[str, float]) -> None:
        """Send the values."""
        # It takes only some characters in names.
        named = {
            name.replace(" ", "_"): value for name, value in values.items() if math.isfinite(value)
        }
        self._mlflow.log_metrics(named, step=iteration)

    def close(self) -> None:
        """End the run."""
        self._mlflow.end_run()


_TRACKERS = {"wandb": WandbWriter, "mlflow": MLflowWriter}


def build_writers(cfg: CfgNode) -> list[EventWriter]:
    """The writers beside Detectron2's, for the main process: ``metrics.csv``, and LOG_WRITERS.

    Raises:
        ConfigError: if LOG_WRITERS has an unknown name, or a package is missing.
    """
    unknown = [name for name in cfg.LOG_WRITERS if name not in _TRACKERS]
    if unknown:
        raise ConfigError(f"LOG_WRITERS has {unknown}: choose from {sorted(_TRACKERS)}")
    table = CSVWriter(os.path.join(cfg.OUTPUT_DIR, "metrics.csv"))
    return [table, *(_TRACKERS[name](cfg) for name in cfg.LOG_WRITERS)]


def _import(name: str) -> ModuleType:
    try:
        module = importlib.import_module(name)
        spec = getattr(module, "__spec__", None)
        if spec is not None and spec.origin is None:  # runs leave such folders
            raise ImportError(f"there is a folder '{name}', and no package")
        return module
    except ImportError as error:
        raise ConfigError(
            f"LOG_WRITERS has '{name}', which cannot be imported: {error}. Install it with "
            f"'pip install {name}', or take it out"
        ) from error


def _run_id(cfg: CfgNode) -> str:
    """The same for every start in a folder, so that a resumed training continues its run."""
    path = os.path.join(cfg.OUTPUT_DIR, "wandb_id.txt")
    if not os.path.isfile(path):
        with open(path, "w", encoding="utf-8") as file:
            file.write(os.urandom(8).hex())
    with open(path, encoding="utf-8") as file:
        return file.read().strip()
