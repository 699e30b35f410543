"""Frames out: counts, rates and sizes survive, and failures say what is wrong."""

import os
from types import SimpleNamespace

import numpy as np
import pytest
from small_videos import SIZE, grey_frames, write_plain

from mobileinst_core.video import writers
from mobileinst_core.video.images import VideoIOError
from mobileinst_core.video.readers import VideoReader
from mobileinst_core.video.writers import VIDEO_SUFFIXES, VideoWriter


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


def test_a_video_can_be_filled_up_with_its_last_frame(tmp_path):
    path = tmp_path / "a.mp4"
    with VideoWriter(path, fps=10, size=SIZE) as writer:
        writer.fill(2)
        writer.write(np.full((48, 64, 3), 200, np.uint8))
        writer.fill(5)
        writer.fill(1)
    assert [round(frame.mean() / 50) for frame in VideoReader(path)] == [0, 0, 4, 4, 4]


def test_a_full_disk_ends_the_video_while_it_can_still_be_finished(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    free = [2**30, 2**10]
    usage = lambda _: SimpleNamespace(free=free.pop(0))  # noqa: E731
    monkeypatch.setattr(writers.shutil, "disk_usage", usage)

    def write_all():
        with VideoWriter(path, fps=10, size=SIZE) as writer:
            for _ in range(100):
                writer.write(grey_frames(1)[0])

    with pytest.raises(VideoIOError, match=r"the disk is full: .* ends after 32 frames"):
        write_all()
    assert len(list(VideoReader(path))) == 32


def test_odd_sizes_are_padded_to_even_ones(tmp_path):
    path = tmp_path / "odd.mp4"
    with VideoWriter(path, fps=10, size=(65, 47)) as writer:
        for frame in grey_frames(3, (65, 47)):
            writer.write(frame)
    reader = VideoReader(path)
    assert (reader.width, reader.height) == (66, 48)
    # The last row and column go on, with no dark border.
    assert all(abs(int(frame[-1, -1, 0]) - int(frame[20, 20, 0])) < 6 for frame in reader)


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((48, 65, 3), np.uint8),
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 3), np.float32),
    ],
)
def test_frame_of_another_size_or_type_is_an_error(tmp_path, frame):
    with VideoWriter(tmp_path / "a.mp4", fps=10, size=SIZE) as writer:
        writer.write(grey_frames(1)[0])
        with pytest.raises(VideoIOError, match="frame 1 of"):
            writer.write(frame)


def test_interrupt_leaves_a_file_that_plays(tmp_path):
    path = tmp_path / "a.mp4"

    def interrupted():
        with VideoWriter(path, fps=10, size=SIZE) as writer:
            for frame in grey_frames(5):
                writer.write(frame)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(list(VideoReader(path))) == 5


def test_nothing_written_leaves_no_file(tmp_path):
    with VideoWriter(tmp_path / "a.mp4", fps=10, size=SIZE):
        pass
    assert not (tmp_path / "a.mp4").exists()


def test_frames_lost_on_the_way_are_an_error(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", fps=10, size=SIZE)
    for frame in grey_frames(3):
        writer.write(frame)
    writer.num_frames += 2
    with pytest.raises(VideoIOError, match=r"5 frames .* 3 of"):
        writer.close()


def test_file_that_vanished_is_an_error(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", fps=10, size=SIZE)
    writer.write(grey_frames(1)[0])
    os.remove(tmp_path / "a.mp4")
    with pytest.raises(VideoIOError, match="is broken"):
        writer.close()


def test_closing_twice_is_fine(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", fps=10, size=SIZE)
    writer.write(grey_frames(1)[0])
    writer.close()
    writer.close()


def test_existing_file_is_kept_unless_told(tmp_path):
    path = write_plain(tmp_path / "a.mp4", grey_frames(4))
    before = path.read_bytes()
    with pytest.raises(VideoIOError, match="--overwrite"):
        VideoWriter(path, fps=10, size=SIZE)
    assert path.read_bytes() == before
    with VideoWriter(path, fps=10, size=SIZE, overwrite=True) as writer:
        writer.write(grey_frames(1)[0])
    assert len(list(VideoReader(path))) == 1


def test_outputs_that_cannot_be_written_are_explained(tmp_path):
    (tmp_path / "file").write_text("a file where a folder should be")
    (tmp_path / "folder.mp4").mkdir()
    for path, codec, reason in (
        (tmp_path / "a.txt", None, "suffix"),
        (tmp_path / "a", None, "suffix"),
        (tmp_path / "a.mp4", "mp4", "four"),
        (tmp_path / "a.mp4", "!?!?", "cannot encode"),
        (tmp_path / "file" / "a.mp4", None, "cannot write"),
        (tmp_path / "folder.mp4", None, "is a folder"),
    ):
        with pytest.raises(VideoIOError, match=reason):
            VideoWriter(path, fps=10, size=SIZE, codec=codec)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write all")
def test_folder_without_permission_is_explained(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(VideoIOError, match="Permission denied"):
        VideoWriter(tmp_path / "a.mp4", fps=10, size=SIZE)
