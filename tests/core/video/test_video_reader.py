"""Frames in: count, rate and size survive, and failures say what is wrong."""

import logging

import cv2
import numpy as np
import pytest
from small_videos import SIZE, FakeCapture, grey_frames, write_plain

from mobileinst_core.video.images import VideoIOError
from mobileinst_core.video.readers import VideoReader


def test_reader_yields_every_frame_of_a_file(tmp_path):
    frames = grey_frames(9)
    with VideoReader(write_plain(tmp_path / "my clip.mp4", frames)) as reader:
        assert (reader.num_frames, reader.width, reader.height) == (9, *SIZE)
        assert reader.fps == pytest.approx(12.5)
        assert reader.name == "my_clip"
        read = list(reader)
    assert len(read) == 9
    for frame, original in zip(read, frames, strict=True):
        assert frame.shape == original.shape
        assert np.abs(frame.astype(int) - original).mean() < 4


@pytest.mark.parametrize("fps", [0.0, -1.0, float("nan"), float("inf")])
def test_unusable_rate_becomes_25_with_a_note(monkeypatch, caplog, fps):
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: FakeCapture(frames=grey_frames(1), fps=fps))
    with caplog.at_level(logging.WARNING):
        assert VideoReader(0).fps == 25.0
    assert "25 are assumed" in caplog.text


@pytest.mark.parametrize("damaged", [(1,), (0, 1), (2, 3), (0, 3)])
def test_damaged_images_are_named_and_keep_their_place(tmp_path, caplog, damaged):
    for i, frame in enumerate(grey_frames(4)):
        cv2.imwrite(str(tmp_path / f"{i}.png"), frame)
    for i in damaged:
        (tmp_path / f"{i}.png").write_bytes(b"no image")
    reader = VideoReader(tmp_path)
    read = [(f.position - 1, f.name, int(f.pixels[0, 0, 0])) for f in reader.frames()]
    assert read == [(i, str(i), 10 + 8 * i) for i in range(4) if i not in damaged]
    assert (reader.position, reader.num_damaged) == (4, len(damaged))
    assert all(f"{i}.png" in caplog.text for i in damaged)
    with pytest.raises(VideoIOError, match="no frame of"):
        VideoReader([tmp_path / f"{i}.png" for i in damaged])


def test_frames_behind_a_damaged_part_of_a_file_are_read(tmp_path):
    frames = [np.random.default_rng(i).integers(0, 256, (48, 64, 3), np.uint8) for i in range(40)]
    content = bytearray(write_plain(tmp_path / "a.mp4", frames).read_bytes())
    middle = len(content) // 2
    content[middle : middle + len(content) // 8] = bytes(len(content) // 8)
    (tmp_path / "b.mp4").write_bytes(content)
    reader = VideoReader(tmp_path / "b.mp4")
    positions = [reader.position for _ in reader]
    assert 1 <= reader.num_damaged <= 8
    assert positions[-1] == reader.position == 40 == len(positions) + reader.num_damaged


@pytest.mark.parametrize(
    ("start", "end", "stride", "expected"),
    [
        (0, None, 1, range(10)),
        (3, None, 1, range(3, 10)),
        (0, 4, 1, range(4)),
        (2, 9, 3, range(2, 9, 3)),
        (9, 99, 5, [9]),
        (0, None, 4, [0, 4, 8]),
    ],
)
@pytest.mark.parametrize("folder", [False, True])
def test_a_part_of_the_frames_can_be_selected(tmp_path, folder, start, end, stride, expected):
    frames = [np.full((48, 64, 3), 20 * i, np.uint8) for i in range(10)]
    source = tmp_path
    for i, frame in enumerate(frames):
        cv2.imwrite(str(tmp_path / f"{i:06d}.png"), frame)
    if not folder:
        source = write_plain(tmp_path / "a.mp4", frames)
    with VideoReader(source, start=start, end=end, stride=stride) as reader:
        native = 10.0 if folder else 12.5
        assert reader.fps == pytest.approx(native / stride)
        assert reader.num_frames == len(expected)
        read = [(frame.name, round(frame.pixels.mean() / 20)) for frame in reader.frames()]
    assert read == [(f"{i:06d}", i) for i in expected]
    assert reader.position == len(expected)
    with pytest.raises(VideoIOError, match=r"no frame 20 to start at: .* has 10 frames"):
        VideoReader(source, start=20)


def test_image_files_are_a_video_named_after_their_folder(tmp_path):
    paths = [tmp_path / "my clip" / "x3.png", tmp_path / "my clip" / "x1.png"]
    paths.append(tmp_path / "other" / "x3.png")
    for value, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), np.full((8, 12, 3), value, np.uint8))
    reader = VideoReader(paths[:2])
    assert (reader.name, reader.num_frames) == ("my_clip", 2)
    found = [(frame.name, int(frame.pixels[0, 0, 0])) for frame in reader.frames()]
    assert found == [("x3", 0), ("x1", 1)]
    # Of equal names, numbers.
    assert [x.name for x in VideoReader(paths[::2]).frames()] == ["000000", "000001"]
    with pytest.raises(VideoIOError, match="is an image"):
        VideoReader(paths[0])


def test_frames_of_another_size_are_fitted_into_the_first(tmp_path, caplog):
    for i, size in enumerate([(48, 64), (96, 64), (24, 32), (24, 64)]):
        cv2.imwrite(str(tmp_path / f"{i}.png"), np.full((*size, 3), 200, np.uint8))
    frames = list(VideoReader(tmp_path))
    assert {frame.shape for frame in frames} == {(48, 64, 3)}
    # The tall one is in the middle third to half, the small one fills the frame, the wide one not.
    assert frames[1][24, 32, 0] == 200
    assert frames[1][24, 4, 0] == frames[1][24, 60, 0] == 0
    assert (frames[2] == 200).all()
    assert [frames[3][row, 2, 0] for row in (2, 24, 45)] == [0, 200, 0]
    assert caplog.text.count("changes its size from 64x48 to 64x96") == 1


def test_an_address_with_a_length_is_a_file_and_one_without_is_live(monkeypatch):
    stream = FakeCapture(frames=grey_frames(2))
    monkeypatch.setattr(cv2, "VideoCapture", lambda _: stream)
    with VideoReader("rtsp://camera/1") as reader:
        assert reader.live
    stream.get = lambda _: 2.0
    with VideoReader("https://host/clip.mp4") as reader:
        assert not reader.live
        assert reader.name == "clip"
