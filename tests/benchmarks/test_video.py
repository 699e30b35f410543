import json
import sys

import pytest
import video
from video import FrameCost, LiveCost, WholeVideoCost

RANDOM = ("MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", "INPUT.MIN_SIZE_TEST", "128")


@pytest.fixture
def here(monkeypatch) -> None:
    """Measure in this process."""
    monkeypatch.setattr(video, "in_new_process", lambda function, *args: function(*args))
    monkeypatch.setattr(video, "LIVE_WARM_UP", 2)


@pytest.fixture
def command(repository) -> list[str]:
    config = repository / "configs" / "toy" / "shapes_video.yaml"
    return ["--config-file", str(config), "--size", "72", "96"]


@pytest.mark.skipif(sys.platform != "linux", reason="memory is measured on Linux")
@pytest.mark.usefixtures("here")
def test_every_part_is_measured(command, tmp_path, capsys):
    file = tmp_path / "new" / "video.json"
    command += ["--frames", "5", "--steps", "4", "--pairs", "2", "--json", str(file)]
    assert video.main([*command, *RANDOM, "TEST.DETECTIONS_PER_IMAGE", "3"]) == 0
    found = json.loads(file.read_text(encoding="utf-8"))
    assert found["size"] == [72, 96]
    assert "torch" in found["machine"]
    assert set(WholeVideoCost._fields) == set(found["whole_video"])
    assert (found["whole_video"]["frames"], found["whole_video"]["tracks"]) == (5, 3)
    assert found["whole_video"]["masks"] > 5
    assert set(LiveCost._fields) == set(found["live"])
    assert (found["live"]["steps"], found["live"]["instances"]) == (4, 3.0)
    assert found["live"]["after"]["peak"] >= found["live"]["after"]["now"] > 0
    for part in ("step_seconds", "network_seconds"):
        assert set(FrameCost._fields) == set(found[part])
    assert found["step_seconds"]["keyframe"] > found["network_seconds"]["keyframe"] > 0
    out = capsys.readouterr().out
    assert found["machine"] in out
    for line in ("whole video", "live", "T = 6", "**growth**", "**peak beyond the model**"):
        assert f"| {line}" in out
