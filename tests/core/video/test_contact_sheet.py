"""The grid of frames, as a function and as a command."""

import cv2
import numpy as np

from mobileinst_core.video.contact_sheet import main
from mobileinst_core.video.writers import VideoWriter


def make_video(path, count, size=(64, 48)):
    with VideoWriter(path, fps=10, size=size) as writer:
        for i in range(count):
            writer.write(np.full((size[1], size[0], 3), 20 * i, np.uint8))
    return path


def test_command_writes_one_row_per_video(tmp_path):
    videos = [make_video(tmp_path / name, 6) for name in ("a.mp4", "b.mp4")]
    output = tmp_path / "sheet.png"
    arguments = ["--output", str(output), "--frames", "4", "--width", "32", *map(str, videos)]
    assert main(arguments) == 0
    assert cv2.imread(str(output)).shape == (2 * 24 + 3 * 6, 4 * 32 + 5 * 6, 3)


def test_command_explains_failures(tmp_path, capsys):
    video = make_video(tmp_path / "a.mp4", 2)
    assert main(["--output", str(tmp_path / "sheet.png"), str(tmp_path / "gone.mp4")]) == 1
    assert "gone.mp4" in capsys.readouterr().err
    assert main(["--output", str(tmp_path / "sheet.pdf"), str(video)]) == 1
    assert "suffix" in capsys.readouterr().err
    assert main(["--output", str(tmp_path / "s.png"), "--frames", "0", str(video)]) == 1
    assert "count is 0" in capsys.readouterr().err
