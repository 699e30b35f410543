"""Fixtures of the tests of this folder."""

import logging

import pytest


@pytest.fixture(autouse=True)
def _visible_log_records(monkeypatch):
    # Detectron2's setup_logger, when any test before called it, cuts this logger off from caplog.
    monkeypatch.setattr(logging.getLogger("mobileinst_d2"), "propagate", True)
