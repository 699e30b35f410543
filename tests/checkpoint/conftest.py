"""Fixtures of the tests of this folder."""

import logging

import pytest


@pytest.fixture(autouse=True)
def _visible_log_records(monkeypatch):
    # Detectron2's setup_logger, when any test before called it, cuts these loggers off from caplog.
    for name in ("detectron2", "fvcore", "mobileinst_d2"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
