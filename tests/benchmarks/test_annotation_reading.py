"""The benchmark of annotation files measures what it says; times themselves are not tested."""

import logging
import re

import annotations
import pytest
from pycocotools import mask as mask_util


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(annotations, "DISTINCT_MASKS", 8)
    yield
    logging.disable(logging.NOTSET)


def test_both_kinds_of_files_are_measured(capsys):
    assert annotations.main(["--masks", "300", "--size", "48", "64", "--repeats", "1"]) == 0
    printed = capsys.readouterr().out
    assert "300 masks of 64x48 pixels" in printed
    for kind in ("lists of integers", "compressed text"):
        for way in ("load_records", "the JSON parser alone"):
            assert re.search(
                rf"^\| {kind} +\| +{way} +\| +\d+\.\d \| +\d+\.\d\d \|$", printed, re.M
            )
    for way in ("load_records", "lists and mappings"):
        assert re.search(rf"^\| {way} +\| +\d+ \| +\d\.\d\d \|$", printed, re.MULTILINE)


def test_run_lengths_are_those_of_the_mask():
    for mask in annotations.make_masks((48, 64)):
        code = {"size": [48, 64], "counts": annotations.run_lengths(mask)}
        assert mask_util.frPyObjects([code], 48, 64)[0]["counts"].decode() == mask["counts"]
