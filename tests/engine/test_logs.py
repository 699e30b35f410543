"""Logs without colour codes in files, and without hundreds of lines on the terminal."""

import argparse
import logging
import re
import sys

import pytest
from detectron2.utils import logger as detectron2_logger

from mobileinst_core.errors import UserError
from mobileinst_d2.engine import logs
from mobileinst_d2.engine.setup import setup_cfg


@pytest.fixture
def _own_loggers(monkeypatch):
    """Leave the loggers as they were."""
    detectron2_logger.setup_logger.cache_clear()
    detectron2_logger._cached_log_stream.cache_clear()
    kept = {name: list(logging.getLogger(name).handlers) for name in logs._NAMES}
    for name in logs._NAMES:
        monkeypatch.setattr(logging.getLogger(name), "handlers", [])
    yield
    for name, handlers in kept.items():
        logging.getLogger(name).handlers = handlers
    detectron2_logger.setup_logger.cache_clear()


def _fail(error, depth):
    if not depth:
        raise error
    _fail(error, depth - 1)


@pytest.mark.usefixtures("_own_loggers")
@pytest.mark.parametrize("is_terminal", [False, True])
def test_a_run_is_logged_where_it_belongs(tmp_path, capsys, monkeypatch, is_terminal):
    cfg = setup_cfg("toy/shapes_image.yaml", ("OUTPUT_DIR", str(tmp_path)))
    cfg.freeze()
    with monkeypatch.context() as patch:
        patch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)
        logs.set_up_run(cfg, argparse.Namespace(config_file="", eval_only=True))
        logs.set_up_run(cfg, argparse.Namespace(config_file="", eval_only=True))
        logging.getLogger("detectron2.engine.defaults").info("Model:\n" + "line\n" * 50)
        logging.getLogger("mobileinst_d2.data").info("\x1b[36m" + "a table\n" * 30 + "\x1b[0m")
        logging.getLogger("mobileinst_core.coco").warning("a warning of the core")
        for kind in (UserError, KeyError):
            try:
                _fail(kind(f"of {kind.__name__}"), depth=10)
            except kind:
                logging.getLogger("detectron2.engine").exception("Exception during training:")
    out = capsys.readouterr().out
    log = (tmp_path / "log.txt").read_text()
    assert "\x1b" not in log
    assert ("\x1b" in out) == is_terminal
    for text in ("Environment info", "IMS_PER_BATCH", "MobileInst"):
        assert text in log
        assert text not in out
    assert f"config are in {tmp_path}/log.txt" in out
    assert log.count("line\n") == 50
    assert "Model: (50 lines, in log.txt)" in out
    for text in ("a table", "a warning of the core"):
        assert text in log
        assert out.count(text) == (30 if text == "a table" else 1)
    # The command tells the other one in a line.
    assert log.count("Traceback") == 2
    assert out.count("Traceback") == 1
    assert "of KeyError" in out
    assert re.search(r"Exception during training: \(\d+ lines, in log.txt\)", out)
    assert len(out.splitlines()) < 90
