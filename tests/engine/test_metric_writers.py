"""Numbers of a training in tables and trackers."""

import csv
import json
import sys
from importlib.machinery import ModuleSpec
from importlib.util import module_from_spec
from types import SimpleNamespace

import pytest
from detectron2.utils.events import EventStorage, JSONWriter
from toy_training import make_cfg, run

from mobileinst_core.errors import ConfigError
from mobileinst_d2.engine.writers import CSVWriter, build_writers, write_null_for_nan


def table(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_resumed_training_goes_on_in_the_table(tmp_path):
    run(make_cfg(tmp_path), interrupt_at=5)
    run(make_cfg(tmp_path), resume=True)
    rows = table(tmp_path / "metrics.csv")
    assert [row["iteration"] for row in rows] == ["5", "11"]
    assert all(float(row["loss_first"]) >= 0 for row in rows)


def test_columns_may_come_later(tmp_path):
    path = tmp_path / "metrics.csv"
    with EventStorage() as storage:
        writer = CSVWriter(str(path))
        storage.put_scalar("loss", 2.0)
        writer.write()
        writer.write()
        storage.iter = 3
        storage.put_scalars(loss=1.0)
        storage.put_scalars(AP=30.0, smoothing_hint=False)
        writer.write()
    assert table(path) == [
        {"iteration": "0", "loss": "2.0", "AP": ""},
        {"iteration": "3", "loss": "1.5", "AP": "30.0"},
    ]


def test_metrics_json_has_null_for_what_is_not_finite(tmp_path):
    path = tmp_path / "metrics.json"
    with EventStorage() as storage:
        writer = write_null_for_nan(JSONWriter(str(path)))
        storage.put_scalars(AP=30.0, APl=float("nan"), ratio=float("inf"), smoothing_hint=False)
        writer.write()
        writer.close()

    def refuse(constant):
        raise ValueError(constant)

    (line,) = path.read_text().splitlines()
    expected = {"iteration": 0, "AP": 30.0, "APl": None, "ratio": None}
    assert json.loads(line, parse_constant=refuse) == expected


@pytest.fixture
def trackers(monkeypatch):
    """Stand-ins for the packages, which note what they are given."""
    calls = []

    def note(name):
        return lambda *args, **kwargs: calls.append((name, args, kwargs))

    wandb_run = SimpleNamespace(log=note("log"), finish=note("finish"))

    def init(**kwargs):
        calls.append(("init", (), kwargs))
        return wandb_run

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    names = ("start_run", "log_params", "log_metrics", "end_run")
    mlflow = SimpleNamespace(**{name: note(name) for name in names})
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    return calls


def test_trackers_get_config_numbers_and_an_end(tmp_path, trackers):
    cfg = make_cfg(tmp_path, "LOG_WRITERS", ("wandb", "mlflow"))
    run(cfg, interrupt_at=5)
    run(cfg, resume=True)
    names = [name for name, _, _ in trackers]
    begin = ["init", "start_run", "log_params"]
    interrupted = [*begin, "log", "finish", "log_metrics", "end_run"]
    assert names == [*interrupted, *begin, "log", "log_metrics", "finish", "end_run"]
    first, second = (kwargs for name, _, kwargs in trackers if name == "init")
    assert first["id"] == second["id"]
    assert first["config"]["SOLVER.BASE_LR"] == 0.01
    values, steps = next((args[0], kwargs) for name, args, kwargs in trackers if name == "log")
    assert steps == {"step": 5}
    assert {"total_loss", "lr"} <= values.keys()


def test_missing_packages_and_unknown_names_are_told(tmp_path, monkeypatch):
    only_a_folder = module_from_spec(ModuleSpec("wandb", None))
    for missing in (None, only_a_folder):
        monkeypatch.setitem(sys.modules, "wandb", missing)
        with pytest.raises(ConfigError, match="pip install wandb"):
            build_writers(make_cfg(tmp_path, "LOG_WRITERS", ("wandb",)))
    with pytest.raises(ConfigError, match=r"\['comet'\]: choose from \['mlflow', 'wandb'\]"):
        build_writers(make_cfg(tmp_path, "LOG_WRITERS", ("comet",)))
