from collections.abc import Callable

import numpy as np
import pytest
import torch
from scripted_network import FRAME_SIZE, ScriptedNetwork
from scripted_stream import frame_of, identities, prepare, script, tracker_of

from mobileinst_core.detections import Detections
from mobileinst_core.tracking import keyframes, online


def test_instances_have_every_field():
    tracker = tracker_of(script([0.6, 0.6], [0.9, 0.9], [0.1, 0.1]))
    for t in range(2):
        result = tracker.step(frame_of(t))
        assert result.image_size == FRAME_SIZE
        assert result.scores.tolist() == pytest.approx([0.9, 0.6])
        assert result.classes.tolist() == [0, 0]
        assert result.masks.shape == (2, *FRAME_SIZE)
        assert result.masks.dtype == bool
        assert result.boxes.tolist() == [[16.0, 0.0, 32.0, 48.0], [0.0, 0.0, 16.0, 48.0]]
        assert result.ids.tolist() == [1, 2]
        assert result.periods.tolist() == [t + 1, t + 1]
    # Query n has the n-th of three columns.
    assert result.masks[:, 20, 24].tolist() == [True, False]
    assert result.masks[:, 20, 8].tolist() == [False, True]


def test_a_track_becomes_visible_and_hidden_with_hysteresis():
    scores = [0.4, 0.5, 0.4, 0.31, 0.29, 0.4, 0.49, 0.51]
    shown = identities(tracker_of(script(scores)), len(scores))
    assert shown == [[], [1], [1], [1], [], [], [], [1]]


def test_a_track_lost_for_long_comes_back_as_another():
    on, off = 0.9, 0.0
    brief = tracker_of(script([on, off, off, on, on]), max_lost=2)
    assert identities(brief, 5) == [[1], [], [], [1], [1]]
    long = tracker_of(script([on, off, off, off, on, on]), max_lost=2)
    assert identities(long, 6) == [[1], [], [], [], [2], [2]]


def test_time_lost_is_counted_in_key_frames():
    on, off = 0.9, 0.0
    network = script([on] * 3 + [off] * 6 + [on] * 3)
    tracker = tracker_of(network, clip_len=3, max_lost=2)
    shown = identities(tracker, 12)
    assert shown == [[1]] * 3 + [[]] * 6 + [[1]] * 3


def test_the_period_of_an_identity_counts_the_frames_it_was_shown_in():
    on, off = 0.9, 0.0
    tracker = tracker_of(script([on, on, off, on, off, off, on]), max_lost=1)
    periods = [tracker.step(frame_of(t)).periods.tolist() for t in range(7)]
    assert periods == [[1], [2], [], [3], [], [], [1]]


def test_scores_are_smoothed_over_key_frames():
    scores = [1.0, 0.5, 0.0, 1.0]
    tracker = tracker_of(script(scores), smoothing=0.8, score_on=0.1, score_off=0.1)
    smoothed = 1.0
    for t, score in enumerate(scores):
        smoothed = score if t == 0 else 0.8 * smoothed + 0.2 * score
        assert tracker.step(frame_of(t)).scores.tolist() == pytest.approx([smoothed])


def test_the_shown_class_changes_only_for_a_clear_leader():
    classes = [[0.8, 0.1], [0.7, 0.75], [0.6, 0.69], [0.6, 0.71], [0.69, 0.6], [0.75, 0.6]]
    network = ScriptedNetwork(torch.tensor(classes)[:, None])
    tracker = tracker_of(network, class_margin=0.1)
    shown = [tracker.step(frame_of(t)) for t in range(6)]
    assert [r.classes.item() for r in shown] == [0, 0, 0, 1, 1, 0]
    # The score is that of the shown class.
    assert [r.scores.item() for r in shown] == pytest.approx([0.8, 0.7, 0.6, 0.71, 0.6, 0.75])


def test_a_track_appears_with_its_leading_class():
    classes = [[0.2, 0.1], [0.55, 0.6]]
    network = ScriptedNetwork(torch.tensor(classes)[:, None])
    tracker = tracker_of(network, class_margin=0.1)
    assert len(tracker.step(frame_of(0))) == 0
    assert tracker.step(frame_of(1)).classes.tolist() == [1]


def test_identities_follow_the_kernels_and_not_the_order_of_the_queries():
    network = script([0.9] * 6, [0.8] * 6, [0.7] * 6)
    orders = [torch.randperm(3) for _ in range(6)]
    tracker = tracker_of(network.permuted(orders))
    reference = tracker_of(network)
    for t in range(6):
        result, expected = tracker.step(frame_of(t)), reference.step(frame_of(t))
        assert result.ids.tolist() == expected.ids.tolist() == [1, 2, 3]
        assert np.array_equal(result.masks, expected.masks)


def test_frames_between_key_frames_have_masks_of_their_own():
    network = script([0.9, 0.1], [0.8, 0.1])
    network.mask_features[1] = network.mask_features[1].flip(0)
    tracker = tracker_of(network, clip_len=2)
    first, second = tracker.step(frame_of(0)), tracker.step(frame_of(1))
    assert np.array_equal(second.ids, first.ids)
    assert np.array_equal(second.scores, first.scores)
    assert np.array_equal(second.masks, first.masks[::-1])
    assert network.key_frames == [[0]]


def test_the_last_step_is_described():
    tracker = tracker_of(script([0.9] * 4), clip_len=2)
    assert (tracker.frame_index, tracker.is_keyframe) == (-1, False)
    assert tracker.timings == {}
    described = []
    for t in range(4):
        tracker.step(frame_of(t), force_keyframe=t == 3)
        described.append((tracker.frame_index, tracker.is_keyframe))
    assert described == [(0, True), (1, False), (2, True), (3, True)]
    tracker.reset()
    assert (tracker.frame_index, tracker.is_keyframe) == (-1, False)


def test_times_are_counted_where_they_arise(monkeypatch):
    now = 0.0

    def advancing(function: Callable, seconds: float) -> Callable:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal now
            now += seconds
            return function(*args, **kwargs)

        return call

    for module in (keyframes, online):
        monkeypatch.setattr(module, "perf_counter", lambda: now)
    monkeypatch.setattr(online, "Detections", advancing(Detections, 32.0))
    network = script([0.9] * 2)
    tracker = tracker_of(network, prepare=advancing(prepare, 1.0), clip_len=2)
    tracker.runner.network = network.network()._replace(
        keyframe=advancing(network.keyframe, 2.0),
        reuse=advancing(network.reuse, 4.0),
        mask_product=advancing(keyframes.mask_product, 16.0),
    )
    association = tracker.runner.tracker
    association.associate = advancing(association.associate, 8.0)
    tracker.step(frame_of(0))
    expected = {"prepare": 1.0, "network": 2.0, "association": 8.0, "masks": 48.0}
    assert tracker.timings == expected
    tracker.step(frame_of(1))
    assert tracker.timings == expected | {"network": 4.0, "association": 0.0}


@pytest.mark.parametrize("threshold", [0.0, 10.0, 60.0])
def test_a_scene_cut_makes_a_key_frame(threshold):
    levels = [100, 109, 120, 180, 181]  # the mean of a frame; it differs by 9, 11, 60 and 1
    network = script([0.9] * 256)
    tracker = tracker_of(network, clip_len=9, scene_cut_threshold=threshold)
    for level in levels:
        tracker.step(frame_of(level))
    cuts = {0.0: [], 10.0: [120, 180], 60.0: []}[threshold]
    assert [number for (number,) in network.key_frames] == [100, *cuts]


def test_a_change_of_size_is_no_scene_cut():
    def gradient(size: tuple[int, int]) -> np.ndarray:
        columns = np.linspace(0, 200, size[1]).astype(np.uint8)
        return np.broadcast_to(columns[None, :, None], (*size, 3)).copy()

    sizes = [(48, 64), (90, 120), (10, 16), (48, 64)]
    tracker = tracker_of(script([0.9]), clip_len=9, scene_cut_threshold=10.0)
    keys = []
    for size in sizes:
        result = tracker.step(gradient(size))
        assert (result.ids.tolist(), result.masks.shape) == ([1], (1, *size))
        keys.append(tracker.is_keyframe)
    assert keys == [True, False, False, False]


def test_frames_lost_to_a_failure_are_no_part_of_the_stream():
    network = script([0.9] * 4, [0.8] * 4)
    tracker = tracker_of(network, clip_len=2)
    tracker.step(frame_of(0))
    with pytest.raises(IndexError):
        tracker.step(frame_of(9))  # no such frame in the script
    assert tracker.frame_index == 0
    assert tracker.step(frame_of(1)).periods.tolist() == [2, 2]
    assert not tracker.is_keyframe
    tracker.step(frame_of(2))
    assert tracker.is_keyframe


def test_masks_rescore_the_scores():
    network = script([0.9], [0.8])
    network.mask_features[0, 0] *= 0.1
    plain = tracker_of(network).step(frame_of(0))
    rescored = tracker_of(network, mask_rescore=True).step(frame_of(0))
    assert plain.ids.tolist() == [1, 2]
    assert rescored.scores[0] < plain.scores[0]
    assert np.array_equal(rescored.masks[0], plain.masks[1])


def test_a_track_without_a_mask_is_not_shown():
    network = script([0.9, 0.9], [0.8, 0.8])
    network.mask_features[1, 0] = -6.0
    tracker = tracker_of(network)
    assert tracker.step(frame_of(0)).ids.tolist() == [1, 2]
    result = tracker.step(frame_of(1))
    assert result.ids.tolist() == [2]
    assert result.periods.tolist() == [2]


def test_at_most_so_many_instances():
    tracker = tracker_of(script([0.6], [0.9], [0.8]), max_instances=2)
    result = tracker.step(frame_of(0))
    assert result.scores.tolist() == pytest.approx([0.9, 0.8])


def test_a_reset_starts_a_new_stream():
    network = script([0.9, 0.9], [0.1, 0.9]).permuted([torch.tensor([0, 1]), torch.tensor([1, 0])])
    tracker = tracker_of(network, clip_len=3)
    assert identities(tracker, 2) == [[1], [1]]
    tracker.reset()
    result = tracker.step(frame_of(1))
    assert network.key_frames == [[0], [1]]
    assert result.ids.tolist() == [1, 2]
    assert result.periods.tolist() == [1, 1]
    # Tracks are queries again: equal scores keep the order of this frame's queries.
    assert result.masks[:, 20, 48].tolist() == [True, False]


@pytest.mark.parametrize("rescore", [False, True])
@pytest.mark.parametrize("part", ["mask_features", "scores", "kernels"])
def test_a_stream_recovers_from_a_frame_of_no_numbers(part, rescore):
    network = script([0.9] * 5, [0.8] * 5)
    getattr(network, part)[2] = float("nan")
    tracker = tracker_of(network, smoothing=0.5, mask_rescore=rescore)
    shown = [tracker.step(frame_of(t)) for t in range(5)]
    assert [r.ids.tolist() for r in shown[:2] + shown[3:]] == [[1, 2]] * 4
    assert all(np.isfinite(r.scores).all() for r in shown)
    assert part == "scores" or shown[2].ids.tolist() == []


@pytest.mark.parametrize(
    "frame", [None, *(np.zeros(x, "u1") for x in ((3, 48, 64), (0, 64, 3))), np.zeros((48, 64, 3))]
)
def test_frames_of_another_form_are_refused(frame):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) of uint8"):
        tracker_of(script([0.9])).step(frame)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score_on": 0.2, "score_off": 0.4}, "score_off 0.4 and score_on 0.2"),
        ({"score_on": 1.2}, "score_on 1.2"),
        ({"smoothing": 1.0}, r"smoothing is 1\.0"),
        ({"clip_len": 0}, "clip_len is 0"),
        ({"max_lost": -1}, "max_lost is -1"),
        ({"max_instances": 0}, "max_instances is 0"),
        ({"scene_cut_threshold": -1.0}, r"scene_cut_threshold is -1\.0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        tracker_of(script([0.9]), **options)
