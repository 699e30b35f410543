"""Fixtures that all tests share.

PyTorch is imported where it is used: the process that hands tests out to workers does without.
"""

import importlib
import json
import logging
import multiprocessing.forkserver
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

# Workers of pytest-xdist share the cores.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from metric_by_definition import evaluate_by_definition

from mobileinst_core.ytvis.moving_shapes import make_moving_shapes

REPOSITORY = Path(__file__).resolve().parent.parent

# The scripts there are no package. At the end, so that none can hide an installed module.
sys.path.append(str(REPOSITORY / "benchmarks"))

pytest_plugins = ["exported_folders"]

_LOGGERS = ("detectron2", "fvcore", "mobileinst_core", "mobileinst_d2")


# What takes longest begins first, so that no worker of pytest-xdist ends long after the others.
_LONG = ("test_learning.py", "test_distributed.py", "test_train_net.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of these files first."""
    items.sort(key=lambda item: item.path.name not in _LONG)


@pytest.fixture(autouse=True)
def _fixed_seed() -> None:
    import torch

    torch.manual_seed(0)


@pytest.fixture(autouse=True, scope="session")
def _processes_are_forked():
    """Fork the processes of `launch` from one that has imported all: each saves seconds."""
    import torch

    context = multiprocessing.get_context("forkserver")

    def start(function: Callable, **options: object) -> object:
        from processes import ONE_THREAD

        context.set_forkserver_preload(["mobileinst_d2.engine"])
        with pytest.MonkeyPatch.context() as patch:
            # Detectron2 gives each process a GPU of its own, if there are any.
            patch.setenv("CUDA_VISIBLE_DEVICES", "")
            # The workers of the benchmarks come from the same server.
            for name, value in ONE_THREAD.items():
                patch.setenv(name, value)
            multiprocessing.forkserver.ensure_running()
        return torch.multiprocessing.start_processes(function, start_method="forkserver", **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.multiprocessing, "spawn", start)
        yield


@pytest.fixture(autouse=True)
def _visible_log_records(monkeypatch) -> None:
    # Detectron2's setup_logger, when any test before called it, cuts these loggers off from caplog.
    for name in _LOGGERS:
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)


@pytest.fixture(autouse=True)
def _restored_loggers():
    """Forget where a test's commands log to: the captured streams are closed after it."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    before = [(list(logger.handlers), logger.level) for logger in loggers]
    yield
    for logger, (handlers, level) in zip(loggers, before, strict=True):
        logger.handlers[:] = handlers
        logger.setLevel(level)


@pytest.fixture(scope="module")
def one_thread():
    """PyTorch adds in one order, as in other processes of the test."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(autouse=True, scope="session")
def _signals_are_not_ignored():
    """As where pytest runs in a terminal; in the background of a shell SIGINT is ignored."""
    for number, handler in (
        (signal.SIGINT, signal.default_int_handler),
        (signal.SIGHUP, signal.SIG_DFL),
        (signal.SIGTERM, signal.SIG_DFL),
    ):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, handler)


@contextmanager
def _catalogs_restored() -> Iterator[None]:
    from detectron2.data import DatasetCatalog, MetadataCatalog

    datasets, metadata = dict(DatasetCatalog.data), dict(MetadataCatalog.data)
    yield
    DatasetCatalog.data.clear()
    DatasetCatalog.data.update(datasets)
    MetadataCatalog.data.clear()
    MetadataCatalog.data.update(metadata)


@pytest.fixture(autouse=True)
def clean_catalogs():
    """Forget the data sets that a test registered."""
    with _catalogs_restored():
        yield


@pytest.fixture(autouse=True, scope="module")
def _clean_catalogs_of_fixtures():
    """Forget those that fixtures of a module or of the session registered, after the module."""
    with _catalogs_restored():
        yield


@pytest.fixture
def fails(capsys) -> Callable[..., None]:
    """Run a command that has to end with an error for the user: ``fails(pattern, main, *args)``."""

    def run(pattern: str, main: Callable[..., int], *args: object) -> None:
        capsys.readouterr()
        assert main(*args) == 1
        message = capsys.readouterr().err
        assert re.search(pattern, message), message
        assert "Traceback" not in message

    return run


@pytest.fixture
def drawn_ones(monkeypatch) -> None:
    """Networks start with ones, as drawing their weights takes most of the time."""
    import torch

    for draw in ("normal_", "uniform_"):
        monkeypatch.setattr(torch.Tensor, draw, lambda x, *_, **__: x.fill_(1))


@pytest.fixture(scope="session")
def repository() -> Path:
    """The root of the project."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Callable[..., Path]:
    """Path of optional real data; a test that asks for what is absent is skipped."""

    def find(*parts: str) -> Path:
        path = REPOSITORY.parent.joinpath("shared", "data", *parts)
        if not path.exists():
            pytest.skip(f"optional data is absent: {'/'.join(parts)}")
        return path

    return find


@pytest.fixture(scope="session")
def published() -> ModuleType:
    """What reads the outputs of public systems; a test that asks for it is skipped without them."""
    folder = REPOSITORY.parent / "shared" / "reference"
    if not folder.exists():
        pytest.skip("optional reference outputs are absent")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        return importlib.import_module("reference")


@pytest.fixture(scope="session")
def lively_model():
    """A small model with distinct masks, in evaluation mode. Not to be changed."""
    from tiny_models import build_lively_model

    return build_lively_model()


@pytest.fixture(scope="session")
def moving_shapes(tmp_path_factory):
    """Folder of a small moving-shapes set."""
    root = tmp_path_factory.mktemp("moving_shapes")
    return make_moving_shapes(
        root, num_videos=6, num_val_videos=2, num_frames=8, height=48, width=64, seed=1
    )


@pytest.fixture
def write_json(tmp_path):
    """Write content to a new annotation file."""

    def write(content, name="instances.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    return write


@pytest.fixture(scope="session")
def reference():
    """``(gt, results) -> (metrics, AP by category id)``, from the definition of the metric."""
    return evaluate_by_definition
