import animated_image
import numpy as np
import pytest
from PIL import Image

from mobileinst_core.video.writers import VideoWriter


@pytest.fixture
def videos(tmp_path):
    """Two videos of 5 frames per second: 64x48 with 4 frames and 32x48 with 6."""
    paths = []
    for width, count in ((64, 4), (32, 6)):
        paths.append(tmp_path / f"{width}.mp4")
        with VideoWriter(paths[-1], fps=5, size=(width, 48)) as writer:
            for number in range(count):
                writer.write(np.full((48, width, 3), 60 * number % 256, np.uint8))
    return paths


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_videos_are_shown_side_by_side_at_their_speed(videos, tmp_path, suffix):
    output = tmp_path / f"x{suffix}"
    assert animated_image.main([*map(str, videos), "--output", str(output), "--height", "24"]) == 0
    with Image.open(output) as image:
        assert image.n_frames == 4  # the shorter video ends it
        assert image.size == (32 + 8 + 16, 24)
        image.seek(1)
        image.load()
        assert image.info["duration"] == 200


def test_an_unknown_suffix_is_named(videos, tmp_path, capsys):
    assert animated_image.main([str(videos[0]), "--output", str(tmp_path / "x.mp4")]) == 1
    assert ".webp or .gif" in capsys.readouterr().err
