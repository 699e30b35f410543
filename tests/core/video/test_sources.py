"""Video files as people have them: turned, with uneven times, cut off, damaged."""

import logging
import struct

import av
import numpy as np
import pytest
from small_videos import SIZE, grey_frames, read_by_opencv, write_plain

from mobileinst_core.video.images import VideoIOError
from mobileinst_core.video.readers import VideoReader
from mobileinst_core.video.writers import VideoWriter

UNEVEN = [0.0, 0.04, 0.5, 1.0, 1.02, 3.0]


def noise_frames(count):
    return [np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8) for i in range(count)]


def write_uneven(path):
    with VideoWriter(path, fps=25, size=SIZE) as writer:
        for frame, time in zip(grey_frames(len(UNEVEN)), UNEVEN, strict=True):
            writer.write(frame, time)
    return path


def turn(path, a, b, c, d):
    """Write a matrix of rotation into the header of an mp4 file, as phones do."""
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    numbers = [a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30]
    content[matrix : matrix + 36] = struct.pack(">9i", *numbers)
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_frames_have_the_times_of_the_file(tmp_path, suffix, caplog):
    path = write_uneven(tmp_path / f"a{suffix}")
    frames = list(VideoReader(path).frames())
    assert [frame.time for frame in frames] == pytest.approx(UNEVEN, abs=1e-3)
    assert [round((frame.pixels.mean() - 10) / 8) for frame in frames] == list(range(6))
    assert "cut off" not in caplog.text


def test_times_count_from_the_first_selected_frame_or_follow_a_rate_of_the_user(tmp_path):
    path = write_uneven(tmp_path / "a.mp4")
    found = [frame.time for frame in VideoReader(path, start=2, stride=2).frames()]
    assert found == pytest.approx([0, 0.52])
    reader = VideoReader(path, fps=10)
    assert reader.fps == 10
    assert [x.time for x in reader.frames()] == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("matrix", "show"),
    [
        ((1, 0, 0, 1), lambda stored: stored),
        ((0, 1, -1, 0), lambda stored: np.rot90(stored, 3)),
        ((-1, 0, 0, -1), lambda stored: np.rot90(stored, 2)),
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, 1), lambda stored: stored[:, ::-1]),
        ((1, 0, 0, -1), lambda stored: stored[::-1]),
        ((0, 1, 1, 0), lambda stored: stored.swapaxes(0, 1)),
        ((0, -1, -1, 0), lambda stored: stored[::-1, ::-1].swapaxes(0, 1)),
    ],
)
def test_turned_and_mirrored_videos_are_read_as_displayed(tmp_path, matrix, show):
    frame = np.zeros((48, 64, 3), np.uint8)
    frame[:24, :32] = (200, 60, 30)
    frame[24:, 40:] = 180
    path = write_plain(tmp_path / "a.mp4", [frame])
    (stored,) = list(VideoReader(path))
    turn(path, *matrix)
    with VideoReader(path) as reader:
        (found,) = reader
        assert (reader.height, reader.width) == found.shape[:2]
    assert np.array_equal(found, show(stored))
    # OpenCV turns, but does not mirror.
    if np.linalg.det(np.reshape(matrix, (2, 2))) > 0:
        assert np.abs(found.astype(int) - read_by_opencv(path)[0]).max() <= 2


@pytest.mark.parametrize("size", [(65, 47), (1, 1), (2, 33)])
def test_odd_sizes_are_read(tmp_path, size):
    frame = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), np.uint8)
    with av.open(str(tmp_path / "a.mov"), "w") as container:
        stream = container.add_stream("png", rate=5)  # which holds any size, without a loss
        stream.width, stream.height, stream.pix_fmt = *size, "rgb24"
        image = av.VideoFrame.from_ndarray(frame, format="bgr24").reformat(format="rgb24")
        container.mux([*stream.encode(image), *stream.encode(None)])
    with VideoReader(tmp_path / "a.mov") as reader:
        assert (reader.width, reader.height) == size
        assert np.array_equal(list(reader), [frame])


def test_a_file_without_its_index_is_told_as_that(tmp_path):
    content = write_plain(tmp_path / "a.mp4", noise_frames(20)).read_bytes()
    index = content.index(b"moov")
    (tmp_path / "b.mp4").write_bytes(content[: index - 4])
    with pytest.raises(VideoIOError, match=r"cannot open .*b\.mp4.* may lack the index"):
        VideoReader(tmp_path / "b.mp4")
    # Without an end of the frames, FFmpeg takes it for a file of no streams.
    (tmp_path / "c.mp4").write_bytes(content[: index // 2])
    with pytest.raises(VideoIOError, match=r"c\.mp4.* may lack the index"):
        VideoReader(tmp_path / "c.mp4")


@pytest.mark.parametrize(("suffix", "says"), [(".mp4", "40 frames"), (".mkv", "4.0 seconds")])
def test_a_cut_file_is_read_up_to_the_cut(tmp_path, caplog, suffix, says):
    with VideoWriter(tmp_path / f"a{suffix}", fps=10, size=SIZE) as writer:
        for frame in noise_frames(40):
            writer.write(frame)
    content = writer.path.read_bytes()
    writer.path.write_bytes(content[: len(content) // 2])
    reader = VideoReader(writer.path)
    with caplog.at_level(logging.WARNING):
        count = len(list(reader))
    assert 10 < count <= 21
    assert f"declares {says}, but it ends after" in caplog.text
