"""What live tracking with an exported folder costs before its first frame."""

import json
import sys

import pytest
import streaming

MIB = 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")
def test_live_tracking_imports_nothing_heavy_and_stays_small(exported, tmp_path, capsys):
    file = tmp_path / "live.json"
    options = ["--frames", "4", "--threshold", "0", "--repeats", "1", "--json", str(file)]
    overrides = ["TEST.TRACKING.CLIP_LEN", "2"]
    assert streaming.main(["--model", str(exported("onnx")), *options, *overrides]) == 0
    found = json.loads(file.read_text())["best"]
    assert found["heavy"] == []
    assert found["instances"] > 0
    assert found["mask_bytes"] == found["instances"] * 720 * 1280
    assert found["peak_bytes"] - found["mask_bytes"] < 250 * MIB
    assert 0 < found["import_seconds"] < found["ready_seconds"]
    assert "heavy packages          none" in capsys.readouterr().out


def test_a_folder_that_is_none_ends_with_the_error_of_the_process(tmp_path, capfd):
    assert streaming.main(["--model", str(tmp_path / "gone"), "--repeats", "1"]) == 1
    assert capfd.readouterr().err.startswith("error: there is no folder")
