"""What the demo gains by stages that overlap, measured small."""

import json

import overlap
from small_videos import grey_frames, write_plain


def test_both_ways_show_the_same_and_are_told(exported, tmp_path, capsys):
    video = write_plain(tmp_path / "a.mp4", grey_frames(6))
    arguments = ["--model", str(exported("onnx")), "--video", str(video), "--threshold", "0"]
    out = tmp_path / "o.json"
    assert overlap.main([*arguments, "--frames", "5", "--rounds", "2", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert set(found["cpu_ms"]) == {"read and prepare", "track", "draw and write"}
    assert min(found["cpu_ms"].values()) > 0
    assert 1 <= found["possible"] <= found["cores"]
    assert "overlapping" in capsys.readouterr().out
