"""The cost of preparing frames, told beside Pillow's."""

import json

import preparation
import pytest


def test_each_size_is_measured_and_has_the_bytes_of_pillow(tmp_path, capsys):
    file = tmp_path / "frames.json"
    sizes = ["--size", "64", "96", "32", "48", "33", "50", "--fit", "32", "48"]
    preparation.main([*sizes, "--repeats", "2", "--json", str(file)])
    found = json.loads(file.read_text())["frames"]
    assert [x["size"] for x in found] == [[64, 96], [32, 48], [33, 50]]
    assert [x["different"] for x in found] == [0, 0, 0]
    assert all(x["seconds"] > 0 for x in found)
    assert capsys.readouterr().out.count("x48") == 2


def test_half_a_size_is_refused(capsys):
    with pytest.raises(SystemExit):
        preparation.main(["--size", "64"])
    assert "pairs of height and width" in capsys.readouterr().err
