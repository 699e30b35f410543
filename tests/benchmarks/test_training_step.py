"""The benchmark of a training step compares ways that agree; times themselves are not tested."""

import re

import training_step
from tiny_models import build_tiny_model


def test_every_way_is_measured(capsys, monkeypatch):
    monkeypatch.setattr(training_step, "build_model", lambda _: build_tiny_model())
    assert training_step.main(["--size", "64", "64", "--repeats", "1", "--objects", "2"]) == 0
    printed = capsys.readouterr().out
    for way in training_step.WAYS:
        assert re.search(rf"^\| {way} +\| +\d+\.\d\d \| +\d+\.\d\d \|$", printed, re.MULTILINE)


def test_different_losses_are_an_error(capsys, monkeypatch):
    found = {way: (1.0, {"loss": 1.0 + i}) for i, way in enumerate(training_step.WAYS)}
    monkeypatch.setattr(training_step, "measure", lambda _: found)
    assert training_step.main([]) == 1
    assert "the losses differ" in capsys.readouterr().err
