import math

import pytest
import torch
from scipy.optimize import linear_sum_assignment
from scripted_objects import (
    CROSSING,
    EXCHANGE_OUT_OF_SIGHT,
    RETURN_ON_ANOTHER_QUERY,
    RETURN_ON_ITS_QUERY,
    random_script,
    record_script,
)

from mobileinst_d2.tracking import KernelTracker
from mobileinst_d2.tracking.calibration import (
    AssociationResult,
    AssociationSetting,
    Calibration,
    IdentityCounts,
    RecordedFrame,
    association_grid,
    count_identities,
    measure_similarities,
    replay,
    separation,
    sign_test,
    suggest,
)

MODES = ("prev", "ema", "bank")
REMEMBERING = ("ema", "bank")


def identities(mode: str, frames: list[RecordedFrame], clip_len: int = 1) -> IdentityCounts:
    tracker = KernelTracker(mode=mode)
    return count_identities(replay(frames, tracker, feature="kernel", clip_len=clip_len))


@pytest.mark.parametrize("clip_len", [1, 2])
@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("mode", MODES)
def test_objects_that_stay_in_sight_keep_their_slots(mode, shuffle, clip_len):
    counts = identities(mode, record_script(CROSSING, 4, shuffle=shuffle), clip_len)
    assert counts.continuations == 2 * (4 // clip_len - 1)
    assert counts.switches == 0
    assert counts.accuracy == 1.0


@pytest.mark.parametrize(
    ("script", "switches"),
    [(RETURN_ON_ANOTHER_QUERY, 1), (RETURN_ON_ITS_QUERY, 0), (EXCHANGE_OUT_OF_SIGHT, 2)],
)
def test_an_object_that_comes_back_is_known_again_where_it_is_remembered(script, switches):
    frames = record_script(script, 4)
    for mode in MODES:
        counts = identities(mode, frames)
        assert counts.returns == sum(None in column for column in zip(*script, strict=True))
        assert counts.switches == counts.return_switches == (switches if mode == "prev" else 0)
        assert (counts.accuracy == 1.0) == (counts.switches == 0)


@pytest.mark.parametrize("noise", [0.0, 0.03])
def test_clean_embeddings_are_never_mixed_up_where_they_are_remembered(noise):
    switches = dict.fromkeys(MODES, 0)
    returns = 0
    for seed in range(20):
        script = random_script(30, 3, 8, seed)
        frames = record_script(script, 8, noise=noise, seed=seed)
        for mode in MODES:
            counts = identities(mode, frames)
            switches[mode] += counts.switches
        returns += counts.returns
    assert returns > 100
    assert switches["prev"] > returns / 2
    assert switches["ema"] == switches["bank"] == 0


@pytest.mark.parametrize("mode", MODES)
def test_the_order_of_the_queries_does_not_matter(mode):
    script = random_script(20, 3, 8, seed=1)
    counts, shuffled = (
        # Noise, as "prev" would draw lots between queries that are equally unlike a slot.
        identities(mode, record_script(script, 8, noise=0.03, shuffle=shuffle))
        for shuffle in (False, True)
    )
    assert counts == shuffled
    assert counts.continuations > 20


def test_the_events_of_tracks_are_counted():
    key_frames = [{1: 0, 2: 1}, {1: 0}, {1: 3, 2: 1}, {}, {1: 3, 2: 0}]
    counts = count_identities(key_frames)
    assert counts.appearances == 7
    assert counts.continuations == 5
    assert counts.switches == 2  # of track 1 in the third key frame, of track 2 in the fifth
    assert counts.returns == 3
    assert counts.return_switches == 1


def test_coming_back_to_an_earlier_slot_is_another_switch():
    assert count_identities([{1: 0}, {1: 2}, {1: 0}]).switches == 2


def test_nothing_is_no_problem():
    assert count_identities([]) == count_identities([{}, {}]) == IdentityCounts()
    assert IdentityCounts().accuracy == 0.0


def test_accuracy_falls_with_switches_and_with_slots_handed_on():
    assert count_identities([{1: 0, 2: 1}] * 4).accuracy == 1.0
    # Two of four appearances in each slot.
    split = count_identities([{1: 0}] * 2 + [{1: 5}] * 2)
    assert split.accuracy == pytest.approx(0.5)
    # One slot has two tracks one after the other: no switch, and still not right.
    handed_on = count_identities([{1: 0}] * 2 + [{2: 0}] * 2)
    assert handed_on.switches == 0
    assert handed_on.accuracy == pytest.approx(0.5)


def test_counts_add_up():
    one, two = count_identities([{1: 0}, {1: 1}]), count_identities([{1: 0}, {}, {1: 0}])
    total = sum([one, two], IdentityCounts())
    assert total[:5] == (4, 2, 1, 1, 0)
    assert total.accuracy == pytest.approx((one.accuracy + two.accuracy) / 2)


def test_a_replay_gives_the_slots_that_the_association_gives():
    frames = record_script(random_script(9, 2, 5, seed=3), 5, noise=0.2, shuffle=True)
    found = replay(frames, KernelTracker(), feature="kernel", clip_len=2)
    reference = None
    for frame, slots in zip(frames[::2], found, strict=True):
        current = torch.nn.functional.normalize(frame.embeddings["kernel"], dim=1)
        order = range(5)
        if reference is not None:
            _, order = linear_sum_assignment(-(reference @ current.T).numpy())
        reference = current[list(order)]
        assert {track: order[slot] for track, slot in slots.items()} == frame.query_of


def test_each_video_is_replayed_from_its_beginning():
    tracker = KernelTracker()
    frames = record_script(CROSSING, 4)
    replay(frames, tracker, feature="kernel", clip_len=1)
    other = replay(frames[2:], tracker, feature="kernel", clip_len=1)
    assert other[0] == frames[2].query_of != frames[0].query_of


def unit(degrees: float) -> list[float]:
    return [math.cos(math.radians(degrees)), math.sin(math.radians(degrees))]


def test_cosines_are_sorted_by_what_they_compare():
    # Length is of no matter. Query 0 shows track 7, query 1 track 8.
    angles = [(0.0, 90.0), (20.0, 80.0), (50.0, 60.0), (60.0, 10.0)]
    shown = [{7: 0, 8: 1}, {8: 1}, {7: 0}, {7: 0, 8: 1}]
    frames = [
        RecordedFrame({"query": torch.tensor([unit(a), unit(b)]) * 3.0}, torch.ones(2, 1), query_of)
        for (a, b), query_of in zip(angles, shown, strict=True)
    ]
    found = measure_similarities(frames, feature="query", clip_len=1)

    def cosines(*degrees: float) -> object:
        return pytest.approx(sorted(math.cos(math.radians(d)) for d in degrees), abs=1e-6)

    assert sorted(found.same) == cosines(10, 10)  # 8 in the second frame, 7 in the fourth
    assert sorted(found.same_after_gap) == cosines(50, 70)  # 7 in the third, 8 in the fourth
    assert sorted(found.different) == cosines(80, 30, 20, 40)


def test_separation_is_the_share_of_pairs_in_the_right_order():
    assert separation([0.9, 0.8], [0.1, 0.2, 0.3]) == 1.0
    assert separation([0.1], [0.2, 0.3]) == 0.0
    assert separation([0.5, 0.9], [0.5, 0.7]) == pytest.approx((0.5 + 0 + 1 + 1) / 4)
    assert math.isnan(separation([], [0.1]))
    assert math.isnan(separation([0.1], []))


def test_the_sign_test_asks_in_how_many_videos_one_is_better():
    assert sign_test([1, 2, 3], [1, 2, 3]) == 1.0
    assert sign_test([], []) == 1.0
    assert sign_test([0] * 6 + [4], [1] * 6 + [4]) == pytest.approx(2 * 0.5**6)
    assert sign_test([1] * 6, [0] * 6) == pytest.approx(2 * 0.5**6)
    assert sign_test([0, 0, 1, 1], [1, 1, 0, 0]) == pytest.approx(1.0)


GRID = {"clip_lens": [1, 3], "momenta": [0.5], "bank_sizes": [2], "thresholds": [0.2, 0.4]}


def test_the_grid_has_every_mode_with_every_feature_at_every_length():
    grid = association_grid(**GRID)
    assert len(set(grid)) == len(grid) == 2 * 2 * (1 + 2 + 2)
    papers = [grid[0], grid[len(grid) // 2]]
    assert papers == [
        AssociationSetting(1, "kernel", "prev"),
        AssociationSetting(3, "kernel", "prev"),
    ]
    assert AssociationSetting(3, "query", "bank", None, 2, 0.4) in grid


def test_a_setting_is_a_tracker_and_config_values():
    setting = AssociationSetting(3, "query", "ema", ema_momentum=0.5, update_threshold=0.4)
    assert setting.config() == {
        "TEST.TRACKING.CLIP_LEN": 3,
        "TEST.TRACKING.ASSOCIATION_FEATURE": "query",
        "TEST.TRACKING.MODE": "ema",
        "TEST.TRACKING.EMA_MOMENTUM": 0.5,
        "TEST.TRACKING.UPDATE_THRESHOLD": 0.4,
    }
    tracker = setting.tracker()
    assert (tracker.mode, tracker.ema_momentum, tracker.update_threshold) == ("ema", 0.5, 0.4)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"clip_lens": [1, 0]}, "CLIP_LEN"),
        ({"momenta": [1.5]}, "EMA_MOMENTUM"),
        ({"bank_sizes": [0]}, "BANK_SIZE"),
        ({"thresholds": [-0.1]}, "UPDATE_THRESHOLD"),
    ],
)
def test_a_grid_of_impossible_values_is_refused_by_name(change, key):
    with pytest.raises(ValueError, match=key):
        Calibration(association_grid(**(GRID | change)))


def test_a_calibration_finds_what_is_better():
    calibration = Calibration(association_grid(**GRID))
    for seed in range(8):
        script = random_script(24, 3, 8, seed)
        calibration.add_video(record_script(script, 8, noise=0.02, seed=seed))
    assert set(calibration.similarities) == {(t, f) for t in (1, 3) for f in ("kernel", "query")}
    for found in calibration.similarities.values():
        assert min(found.same + found.same_after_gap) > 0.9 > 0.3 > max(found.different)
    at_one = [r for r in calibration.results if r.setting.clip_len == 1]
    assert [len(result.videos) for result in at_one] == [8] * 10
    suggestion = suggest(at_one)
    assert (
        suggestion.chosen
        == suggestion.best.setting
        == AssociationSetting(1, "kernel", "ema", ema_momentum=0.5, update_threshold=0.2)
    )
    assert suggestion.best.total.switches == 0 < suggestion.paper.total.switches
    assert suggestion.p_value == pytest.approx(2 * 0.5**8)


def test_what_happens_without_association_is_measured_too():
    calibration = Calibration(association_grid(**GRID))
    for script in (CROSSING, RETURN_ON_ITS_QUERY, RETURN_ON_ANOTHER_QUERY):
        calibration.add_video(record_script(script, 4))
    assert [c.switches for c in calibration.unassociated[1]] == [2, 0, 1]
    assert [c.switches for c in calibration.unassociated[3]] == [2, 0, 0]  # frames 0 and 3
    assert calibration.results[0].switches == [0, 0, 1]


def test_without_evidence_the_papers_association_is_suggested():
    paper, other = (AssociationSetting(1, "kernel", mode) for mode in ("prev", "bank"))
    worse, better = IdentityCounts(9, 8, 3), IdentityCounts(9, 8, 1)
    suggestion = suggest(
        [AssociationResult(paper, [worse] * 5), AssociationResult(other, [better] * 5)]
    )
    assert suggestion.best.setting == other
    assert suggestion.p_value == pytest.approx(2 * 0.5**5)
    assert suggestion.chosen == paper


def test_of_equal_switches_the_better_accuracy_counts():
    settings = [AssociationSetting(1, "kernel", mode) for mode in MODES]
    counts = [IdentityCounts(4, 3, 1, agreement=x) for x in (2.0, 3.0, 2.5)]
    results = [AssociationResult(s, [c]) for s, c in zip(settings, counts, strict=True)]
    assert suggest(results).best.setting.mode == "ema"
