"""The benchmark of evaluation compares two ways that agree; times themselves are not tested."""

import re

import evaluation
import pytest

SMALL = ["--videos", "4", "--frames", "3", "--tracks", "3", "--size", "48", "64", "--repeats", "1"]


def test_every_way_is_measured(capsys):
    assert evaluation.main(SMALL) == 0
    printed = capsys.readouterr().out
    assert "4 videos of 3 frames 64x48, each with 3 annotated tracks of 2 classes" in printed
    for name in (
        "evaluate_ytvis",
        "the same, from lists of run lengths",
        "the command, with its start",
        "plain loops",
    ):
        assert re.search(rf"^\| {name} +\| +\d+\.\d\d \| +\d+\.\d \|$", printed, re.MULTILINE)


def test_a_difference_is_an_error(monkeypatch, capsys):
    monkeypatch.setattr(evaluation, "plain_iou", lambda first, second: 1.0)
    assert evaluation.main(SMALL) == 1
    assert "AP and AR100 differ" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--videos", "0"], "0 is below 1"),
        (["--size", "8", "64"], "8 is below 32"),
        (["--categories", "41"], "--categories 41 is above 40"),
    ],
)
def test_nonsense_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        evaluation.main(arguments)
    assert message in capsys.readouterr().err
