"""Frames out: counts, rates and sizes survive, and failures say what is wrong."""

import cv2
import numpy as np
import pytest
from small_videos import SIZE, duration_of, grey_frames, read_by_opencv, times_of

from mobileinst_core.video.images import VideoIOError
from mobileinst_core.video.readers import VideoReader
from mobileinst_core.video.writers import VIDEO_SUFFIXES, VideoWriter


def boxes(path):
    """The names of the boxes of an mp4 file in order."""
    content, place, names = path.read_bytes(), 0, []
    while place < len(content):
        names.append(content[place + 4 : place + 8].decode())
        place += int.from_bytes(content[place : place + 4], "big")
    return names


COLORS = ((0, 0, 255), (0, 255, 0), (255, 0, 0), (40, 200, 220))


def color_bars(size=(128, 96)):
    frame = np.zeros((size[1], size[0], 3), np.uint8)
    for index, color in enumerate(COLORS):
        frame[:, index * size[0] // 4 : (index + 1) * size[0] // 4] = color
    return frame


def write_bars(path, **options):
    with VideoWriter(path, fps=10, size=(128, 96), **options) as writer:
        for _ in range(20):
            writer.write(color_bars())
    return writer


def test_an_mp4_file_is_what_everything_plays(tmp_path):
    writer = write_bars(tmp_path / "a.mp4")
    assert writer.codec == "H.264"
    names = boxes(writer.path)
    assert names.index("moov") < names.index("mdat")
    capture = cv2.VideoCapture(str(writer.path))
    fourcc = int(capture.get(cv2.CAP_PROP_FOURCC)).to_bytes(4, "little")
    pixels = int(capture.get(cv2.CAP_PROP_CODEC_PIXEL_FORMAT)).to_bytes(4, "little")
    assert (fourcc.lower(), pixels) == (b"h264", b"I420")


@pytest.mark.parametrize(("suffix", "codec"), [(".mp4", None), (".mp4", "vp9"), (".webm", None)])
def test_colors_are_those_of_the_frames(tmp_path, suffix, codec):
    writer = write_bars(tmp_path / f"a{suffix}", codec=codec)
    frames = read_by_opencv(writer.path)
    assert len(frames) == 20
    for index, color in enumerate(COLORS):
        assert np.abs(frames[10][48, 32 * index + 16].astype(int) - color).max() <= 6


def test_frames_are_shown_at_their_times(tmp_path):
    times = [0.3, 0.34, 1.0, 1.0, 0.9, 4.0]
    with VideoWriter(tmp_path / "a.mp4", fps=20, size=SIZE) as writer:
        for frame, time in zip(grey_frames(6), times, strict=True):
            writer.write(frame, time)
        writer.write(grey_frames(1)[0])
    # The first is shown from the start, and none before the one before it.
    assert times_of(writer.path) == pytest.approx([0, 0.34, 1, 1, 1, 4, 4.05], abs=1e-3)
    assert duration_of(writer.path) == pytest.approx(4.1, abs=1e-3)


@pytest.mark.parametrize("suffix", VIDEO_SUFFIXES)
@pytest.mark.parametrize("fps", [7.3, 30000 / 1001])
def test_every_container_keeps_count_rate_and_size(tmp_path, suffix, fps):
    path = tmp_path / "new folder" / f"out{suffix}"
    with VideoWriter(path, fps=fps, size=SIZE) as writer:
        for frame in grey_frames(11):
            writer.write(frame)
    reader = VideoReader(path)
    assert reader.fps == pytest.approx(fps, abs=2e-3)
    assert (reader.width, reader.height) == SIZE
    assert len(list(reader)) == 11


def test_odd_sizes_are_padded_to_even_ones(tmp_path):
    path = tmp_path / "odd.mp4"
    with VideoWriter(path, fps=10, size=(65, 47)) as writer:
        for frame in grey_frames(3, (65, 47)):
            writer.write(frame)
    reader = VideoReader(path)
    assert (reader.width, reader.height) == (66, 48)
    # The last row and column go on, with no dark border.
    assert all(abs(int(frame[-1, -1, 0]) - int(frame[20, 20, 0])) < 6 for frame in reader)


def test_frame_of_another_size_or_type_is_an_error(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=10, size=SIZE) as writer:
        writer.write(grey_frames(1)[0])
        for shape, dtype in (((48, 65, 3), np.uint8), ((48, 64), np.uint8), ((48, 64, 3), float)):
            with pytest.raises(VideoIOError, match="frame 1 of"):
                writer.write(np.zeros(shape, dtype))


def test_outputs_that_cannot_be_written_are_explained(tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    (tmp_path / "folder.mp4").mkdir()
    for path, codec, reason in (
        (tmp_path / "a.txt", None, "suffix"),
        (tmp_path / "a", None, "suffix"),
        (tmp_path / "a.mp4", "mp4v", "one of h264, av1, vp9"),
        (tmp_path / "a.webm", "h264", "one of vp9, av1"),
        (tmp_path / "file" / "a.mp4", None, "cannot write"),
        (tmp_path / "folder.mp4", None, "is a folder"),
    ):
        with pytest.raises(VideoIOError, match=reason):
            VideoWriter(path, fps=10, size=SIZE, codec=codec)
