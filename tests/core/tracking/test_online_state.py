"""The state of live tracking: it can be saved, it goes on elsewhere, and it does not grow."""

import gc
import io
import sys
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from scripted_network import ScriptedNetwork
from scripted_stream import frame_of, script, tracker_of

from mobileinst_core.detections import Detections
from mobileinst_core.tracking.association import TRACKING_MODES, MovingAverage, build_tracker
from mobileinst_core.tracking.online import OnlineTracker


def saved(state: dict) -> bytes:
    """A state in a file of arrays without pickles."""
    buffer = io.BytesIO()
    np.savez(buffer, allow_pickle=False, **state)
    return buffer.getvalue()


def through_a_file(state: dict) -> Mapping:
    return np.load(io.BytesIO(saved(state)), allow_pickle=False)


def check_equal(shown: Detections, expected: Detections) -> None:
    for name in ("masks", "boxes", "scores", "classes", "ids", "periods"):
        assert np.array_equal(getattr(shown, name), getattr(expected, name)), name


def random_network(
    length: int = 12, tracks: int = 4, classes: int = 3, channels: int = 4
) -> ScriptedNetwork:
    return ScriptedNetwork(
        torch.rand(length, tracks, classes) ** 2,
        torch.randn(length, tracks, channels),
        torch.randn(length, channels, 8, 8),
    )


@pytest.mark.parametrize("mode", TRACKING_MODES)
@pytest.mark.parametrize("clip_len", [1, 3])
@pytest.mark.parametrize("stop", [0, 1, 5])
def test_a_restored_stream_goes_on_as_if_it_had_never_stopped(mode, clip_len, stop):
    network = random_network()

    def new_stream() -> OnlineTracker:
        return tracker_of(
            network,
            clip_len=clip_len,
            tracker=MovingAverage(update_threshold=0.0) if mode == "ema" else None,
            mask_rescore=True,
            smoothing=0.3,
            score_on=0.25,
            score_off=0.2,
            max_lost=1,
            scene_cut_threshold=0.5,
        )

    stream = new_stream()
    for t in range(stop):
        stream.step(frame_of(t))
    state = stream.state_dict()
    # The stream goes on before its state is saved: a state stays what it was.
    expected = [(stream.step(frame_of(t)), stream.is_keyframe) for t in range(stop, 12)]
    assert len({i for shown, _ in expected for i in shown.ids.tolist()}) > 3

    other = new_stream()
    other.load_state_dict(through_a_file(state))
    assert other.frame_index == stop - 1
    for t, (wanted, was_keyframe) in enumerate(expected, stop):
        check_equal(other.step(frame_of(t)), wanted)
        assert other.is_keyframe == was_keyframe
    assert other.ids_alive() == stream.ids_alive()
    assert saved(other.state_dict()) == saved(stream.state_dict())


def test_the_past_of_a_tracker_is_forgotten_when_a_state_is_loaded():
    network = script([0.9] * 5, [0.8] * 5)
    fresh, used = tracker_of(network, clip_len=3), tracker_of(network, clip_len=3)
    start = fresh.state_dict()
    for t in range(4):
        used.step(frame_of(t))
    used.load_state_dict(start)
    assert (used.frame_index, used.is_keyframe, used.prediction) == (-1, False, None)
    assert used.timings == {}
    check_equal(used.step(frame_of(4)), fresh.step(frame_of(4)))
    assert used.is_keyframe


def test_what_is_no_state_is_refused_and_changes_nothing():
    network = script([0.9, 0.9], [0.8, 0.8])
    tracker = tracker_of(network)
    tracker.step(frame_of(0))
    with pytest.raises(ValueError, match=r"it lacks frame_index, since_keyframe, tracks\.next_id"):
        tracker.load_state_dict({"model": np.zeros(3)})
    assert tracker.step(frame_of(1)).periods.tolist() == [2, 2]


@pytest.mark.parametrize(
    ("other", "shapes"),
    [
        ({"tracks": 3}, r"\(4, 4\), the one before had \(3, 4\)"),
        ({"tracks": 5}, r"\(4, 4\), the one before had \(5, 4\)"),
        ({"channels": 8}, r"\(4, 4\), the one before had \(4, 8\)"),
        ({"classes": 2}, r"\(4, 3\), the one before had \(4, 2\)"),
    ],
)
def test_the_state_of_another_network_is_refused_at_the_next_key_frame(other, shapes):
    stream = tracker_of(random_network(**other))
    stream.step(frame_of(0))
    mine = tracker_of(random_network())
    mine.load_state_dict(stream.state_dict())
    with pytest.raises(ValueError, match=shapes + ".*another network"):
        mine.step(frame_of(1))
    mine.reset()
    mine.step(frame_of(1))


def test_the_state_of_another_association_is_refused_and_changes_nothing():
    network = random_network()
    other, mine = (tracker_of(network, tracker=build_tracker(mode)) for mode in ("prev", "ema"))
    for t in range(2):
        other.step(frame_of(t))
    mine.step(frame_of(3))
    before = saved(mine.state_dict())
    with pytest.raises(ValueError, match=r"TEST\.TRACKING\.MODE"):
        mine.load_state_dict(other.state_dict())
    assert saved(mine.state_dict()) == before


def test_a_state_within_a_clip_needs_its_kernels():
    stream = tracker_of(random_network(), clip_len=3)
    stream.step(frame_of(0))
    state = stream.state_dict()
    del state["kernels"]
    with pytest.raises(ValueError, match="lacks the kernels"):
        stream.load_state_dict(state)
    stream.step(frame_of(1))


def test_identities_are_alive_until_they_cannot_come_back():
    on, off = 0.9, 0.0
    tracker = tracker_of(script([on] * 6, [on, off, off, off, off, on]), max_lost=2)
    assert tracker.ids_alive() == []
    alive = []
    for t in range(6):
        tracker.step(frame_of(t))
        alive.append(tracker.ids_alive())
    assert alive == [[1, 2], [1, 2], [1, 2], [1], [1], [1, 3]]


@pytest.mark.parametrize("mode", TRACKING_MODES)
def test_memory_is_flat_over_many_steps(mode):
    numbers = 128  # of different frames
    network = ScriptedNetwork(
        torch.rand(numbers, 4, 3) ** 3, torch.randn(numbers, 4, 4), torch.randn(numbers, 4, 8, 8)
    )
    tracker = build_tracker(mode)
    stream = tracker_of(network, clip_len=2, max_lost=1, scene_cut_threshold=0.5, tracker=tracker)

    def run(frames: range) -> None:
        for t in frames:
            stream.step(frame_of(t % numbers, (24, 32)))
            network.key_frames.clear()
            network.reused_frames.clear()

    def in_memory() -> tuple[int, int]:
        """Blocks of Python's allocator, of which every array has one, and bytes of the state."""
        gc.collect()
        blocks = sys.getallocatedblocks()
        return blocks, len(saved(stream.state_dict()))

    run(range(20))
    in_memory()  # its own first call
    run(range(20, 40))
    blocks, state_size = in_memory()
    run(range(40, 120))
    after = in_memory()
    assert stream.ids_alive()[-1] > 120 / 20  # much has come and gone
    assert after[1] == state_size
    assert after[0] - blocks < 66  # one per step would be 80 at least
