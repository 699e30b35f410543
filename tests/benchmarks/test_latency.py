"""The command line of the comparison; what it measures is in test_latency_work.py."""

import latency
import pytest
from tiny_models import tiny_config


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setattr(latency, "run_in_worker", lambda *args, **kwargs: 1 / 0)
    config = tmp_path / "tiny.yaml"
    config.write_text(tiny_config().dump())
    return ["--config-file", str(config)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-file", "missing.yaml"], r"error: .*missing\.yaml"),
        (["--package", "resnet50"], "error: there is no package model resnet50"),
        (["--exported", "missing"], "error: .*missing"),
        (["--live", "missing"], "error: .*missing"),
        (["--reference", "other"], "error: the reference 'other' is no row; the rows are tiny"),
        (["--output", "FILE/r.json"], "error: .*FILE"),
    ],
)
def test_mistakes_are_known_before_anything_runs(
    arguments, message, command, tmp_path, monkeypatch, fails
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    fails(message, latency.main, [*command, *arguments])
