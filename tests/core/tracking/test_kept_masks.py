"""Masks of a video that are kept in part are those of the whole logits."""

import numpy as np
import pytest

from mobileinst_core.masks.box_masks import BoxMasks
from mobileinst_core.tracking import kept_masks
from mobileinst_core.tracking.kept_masks import KeptMasks

TRACKS, HEIGHT, WIDTH = 6, 24, 40
SIZES = [((90, 150), (90, 150)), ((96, 160), (720, 1280)), ((96, 160), (23, 31))]


def blobs(frame):
    """Smooth logits: objects that move, noise around 0, one that is hidden, and no numbers."""
    rng = np.random.default_rng(frame)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    logits = np.empty((TRACKS, HEIGHT, WIDTH), np.float32)
    for track in range(TRACKS):
        y, x = (5 * track + frame) % HEIGHT, (9 * track + 2 * frame) % WIDTH
        logits[track] = 4 - np.hypot(rows - y, columns - x)
    logits[1] = rng.normal(0, 1, (HEIGHT, WIDTH))
    logits[2] -= 9
    logits[3, 5, 7] = np.nan if frame == 1 else logits[3, 5, 7]
    return logits


def box_masks(logits, resize_logits):
    return BoxMasks(logits, 0.45, stride=4, upsampling=2, resize_logits=resize_logits)


def pasted(masks, sizes):
    found = masks.paste(np.arange(TRACKS), *sizes)
    full = np.zeros((TRACKS, *sizes[1]), bool)
    full[found.shown] = found.masks.full()
    return full


def keep(frames, folder=None):
    kept = KeptMasks(folder)
    for frame in frames:
        if frame is None:
            kept.add_gap()
        else:
            kept.add(np.arange(TRACKS), frame, float(np.log(0.45 / 0.55)) - 1e-3)
    return kept


def restore(kept):
    """(frames, tracks, h, w), with background where a track is not kept."""
    result = np.full((len(kept), TRACKS, HEIGHT, WIDTH), -50, np.float32)
    for track in range(TRACKS):
        first = 0
        for length, shown, logits in kept.of_track(track):
            result[first + shown, track] = logits
            first += length
        assert first == len(kept)
    return result


@pytest.mark.parametrize("resize_logits", [False, True])
@pytest.mark.parametrize("sizes", SIZES)
def test_masks_are_those_of_the_whole_logits(sizes, resize_logits):
    frames = [blobs(frame) for frame in range(4)]
    for whole, restored in zip(frames, restore(keep(frames)), strict=True):
        expected = pasted(box_masks(whole, resize_logits), sizes)
        assert expected.any((1, 2)).sum() >= 3
        assert np.array_equal(pasted(box_masks(restored, resize_logits), sizes), expected)


def test_gaps_and_frames_without_foreground_keep_their_place():
    nothing = np.full((TRACKS, HEIGHT, WIDTH), -3, np.float32)
    restored = restore(keep([blobs(0), None, nothing, blobs(3)]))
    assert (restored[1:3] == -50).all()
    assert (restored[[0, 3], 0] > 0).any(axis=(1, 2)).all()


def test_only_what_is_around_foreground_is_kept():
    frames = [blobs(frame)[[0, 4, 5]] for frame in range(20)]
    kept = KeptMasks()
    for frame in frames:
        kept.add(np.arange(3), frame, 0.0)
    assert 0 < kept.num_bytes < 0.5 * sum(frame.nbytes for frame in frames)


def test_long_videos_go_on_in_a_file_that_leaves_nothing_behind(tmp_path, monkeypatch):
    frames = [blobs(frame) for frame in range(100)]
    in_memory = restore(keep(frames))
    monkeypatch.setattr(kept_masks, "_MEMORY_BYTES", 1000)
    kept = keep(frames, tmp_path)
    assert kept.num_bytes > 100_000
    assert np.array_equal(restore(kept), in_memory, equal_nan=True)
    del kept
    assert list(tmp_path.iterdir()) == []
