from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch
from scripted_network import FRAME_SIZE, ScriptedNetwork
from scripted_stream import identities, picture, predictor_of, prepare, script
from tiny_models import build_lively_model, noise_image, tiny_config

from mobileinst_d2.tracking import StreamingPredictor, step, streaming_predictor


def test_instances_have_every_field():
    predictor = predictor_of(script([0.6, 0.6], [0.9, 0.9], [0.1, 0.1]))
    for t in range(2):
        result = predictor.step(picture(t))
        assert result.image_size == FRAME_SIZE
        assert result.scores.tolist() == pytest.approx([0.9, 0.6])
        assert result.pred_classes.tolist() == [0, 0]
        assert result.pred_masks.shape == (2, *FRAME_SIZE)
        assert result.pred_masks.dtype == torch.bool
        assert result.ID == [1, 2]
        assert result.ID_period == [t + 1, t + 1]
        assert result.lost_frame_count == [0, 0]
    # Query n has the n-th of three columns.
    assert result.pred_masks[:, 20, 24].tolist() == [True, False]
    assert result.pred_masks[:, 20, 8].tolist() == [False, True]


def test_identities_begin_at_one_with_the_best_instance():
    predictor = predictor_of(script([0.6], [0.9], [0.8]))
    assert predictor.step(picture(0)).ID == [1, 2, 3]


def test_a_slot_becomes_visible_and_hidden_with_hysteresis():
    scores = [0.4, 0.5, 0.4, 0.31, 0.29, 0.4, 0.49, 0.51]
    shown = identities(predictor_of(script(scores)), len(scores))
    assert shown == [[], [1], [1], [1], [], [], [], [1]]


def test_a_slot_lost_for_long_comes_back_as_another():
    on, off = 0.9, 0.0
    brief = predictor_of(script([on, off, off, on, on]), max_lost=2)
    assert identities(brief, 5) == [[1], [], [], [1], [1]]
    long = predictor_of(script([on, off, off, off, on, on]), max_lost=2)
    assert identities(long, 6) == [[1], [], [], [], [2], [2]]


def test_identities_are_never_used_again():
    on, off = 0.9, 0.0
    tracks = [[on, off, on, off, on, off, on], [off, on, off, on, off, on, off]]
    predictor = predictor_of(script(*tracks), max_lost=0)
    shown = identities(predictor, 7)
    assert shown == [[1], [2], [3], [4], [5], [6], [7]]


def test_time_lost_is_counted_in_key_frames():
    on, off = 0.9, 0.0
    network = script([on] * 3 + [off] * 6 + [on] * 3)
    predictor = predictor_of(network, clip_len=3, max_lost=2)
    shown = identities(predictor, 12)
    assert shown == [[1]] * 3 + [[]] * 6 + [[1]] * 3


def test_the_period_of_an_identity_counts_the_frames_it_was_shown_in():
    on, off = 0.9, 0.0
    predictor = predictor_of(script([on, on, off, on, off, off, on]), max_lost=1)
    periods = [predictor.step(picture(t)).ID_period for t in range(7)]
    assert periods == [[1], [2], [], [3], [], [], [1]]


def test_scores_are_smoothed_over_key_frames():
    scores = [1.0, 0.5, 0.0, 1.0]
    predictor = predictor_of(script(scores), smoothing=0.8, score_on=0.1, score_off=0.1)
    smoothed = 1.0
    for t, score in enumerate(scores):
        smoothed = score if t == 0 else 0.8 * smoothed + 0.2 * score
        assert predictor.step(picture(t)).scores.tolist() == pytest.approx([smoothed])


def test_the_shown_class_changes_only_for_a_clear_leader():
    classes = [[0.8, 0.1], [0.7, 0.75], [0.6, 0.69], [0.6, 0.71], [0.69, 0.6], [0.75, 0.6]]
    network = ScriptedNetwork(torch.tensor(classes)[:, None])
    predictor = predictor_of(network, class_margin=0.1)
    shown = [predictor.step(picture(t)) for t in range(6)]
    assert [r.pred_classes.item() for r in shown] == [0, 0, 0, 1, 1, 0]
    # The score is that of the shown class.
    assert [r.scores.item() for r in shown] == pytest.approx([0.8, 0.7, 0.6, 0.71, 0.6, 0.75])


def test_a_slot_appears_with_its_leading_class():
    classes = [[0.2, 0.1], [0.55, 0.6]]
    network = ScriptedNetwork(torch.tensor(classes)[:, None])
    predictor = predictor_of(network, class_margin=0.1)
    assert len(predictor.step(picture(0))) == 0
    assert predictor.step(picture(1)).pred_classes.tolist() == [1]


def test_identities_follow_the_kernels_and_not_the_order_of_the_queries():
    network = script([0.9] * 6, [0.8] * 6, [0.7] * 6)
    orders = [torch.randperm(3) for _ in range(6)]
    predictor = predictor_of(network.permuted(orders))
    reference = predictor_of(network)
    for t in range(6):
        result, expected = predictor.step(picture(t)), reference.step(picture(t))
        assert result.ID == expected.ID == [1, 2, 3]
        assert torch.equal(result.pred_masks, expected.pred_masks)


def test_frames_between_key_frames_have_masks_of_their_own():
    network = script([0.9, 0.1], [0.8, 0.1])
    network.mask_features[1] = network.mask_features[1].flip(0)
    predictor = predictor_of(network, clip_len=2)
    first, second = predictor.step(picture(0)), predictor.step(picture(1))
    assert second.ID == first.ID
    assert torch.equal(second.scores, first.scores)
    assert torch.equal(second.pred_masks, first.pred_masks.flip(0))
    assert network.key_frames == [[0]]


def test_a_key_frame_can_be_forced():
    network = script([0.9, 0.6])
    predictor = predictor_of(network, clip_len=5)
    predictor.step(picture(0))
    result = predictor.step(picture(1), force_keyframe=True)
    assert result.scores.tolist() == pytest.approx([0.6])
    assert network.key_frames == [[0], [1]]


def test_the_last_step_is_described():
    predictor = predictor_of(script([0.9] * 4), clip_len=2)
    assert (predictor.frame_index, predictor.is_keyframe) == (-1, False)
    assert predictor.timings == {}
    described = []
    for t in range(4):
        predictor.step(picture(t), force_keyframe=t == 3)
        described.append((predictor.frame_index, predictor.is_keyframe))
    assert described == [(0, True), (1, False), (2, True), (3, True)]
    predictor.reset()
    assert (predictor.frame_index, predictor.is_keyframe) == (-1, False)


def test_times_are_counted_where_they_arise(monkeypatch):
    now = 0.0

    def advancing(function: Callable, seconds: float) -> Callable:
        def call(*args: object, **kwargs: object) -> object:
            nonlocal now
            now += seconds
            return function(*args, **kwargs)

        return call

    monkeypatch.setattr(step, "perf_counter", lambda: now)
    monkeypatch.setattr(streaming_predictor, "perf_counter", lambda: now)
    monkeypatch.setattr(step, "mask_product", advancing(step.mask_product, 16.0))
    to_instances = advancing(streaming_predictor.to_instances, 32.0)
    monkeypatch.setattr(streaming_predictor, "to_instances", to_instances)
    network = script([0.9] * 2)
    network.keyframe = advancing(network.keyframe, 2.0)
    network.reuse = advancing(network.reuse, 4.0)
    predictor = predictor_of(network, prepare=advancing(prepare, 1.0), clip_len=2)
    predictor.stepper.tracker.keyframe = advancing(predictor.stepper.tracker.keyframe, 8.0)

    predictor.step(picture(0))
    expected = {"prepare": 1.0, "network": 2.0, "association": 8.0, "masks": 48.0}
    assert predictor.timings == expected
    predictor.step(picture(1))
    assert predictor.timings == expected | {"network": 4.0, "association": 0.0}


@pytest.mark.parametrize("threshold", [0.0, 10.0, 60.0])
def test_a_scene_cut_makes_a_key_frame(threshold):
    levels = [100, 109, 120, 180, 181]  # the mean of a frame; it differs by 9, 11, 60 and 1
    network = script([0.9] * 256)
    predictor = predictor_of(network, clip_len=9, scene_cut_threshold=threshold)
    for level in levels:
        predictor.step(picture(level))
    cuts = {0.0: [], 10.0: [120, 180], 60.0: []}[threshold]
    assert [number for (number,) in network.key_frames] == [100, *cuts]


def test_a_change_of_size_is_no_scene_cut():
    def gradient(size: tuple[int, int]) -> np.ndarray:
        columns = np.linspace(0, 200, size[1]).astype(np.uint8)
        return np.broadcast_to(columns[None, :, None], (*size, 3)).copy()

    sizes = [(48, 64), (90, 120), (10, 16), (48, 64)]
    predictor = predictor_of(script([0.9]), clip_len=9, scene_cut_threshold=10.0)
    keys = []
    for size in sizes:
        predictor.step(gradient(size))
        keys.append(predictor.is_keyframe)
    assert keys == [True, False, False, False]


def test_frames_lost_to_a_failure_are_no_part_of_the_stream():
    network = script([0.9] * 4, [0.8] * 4)
    predictor = predictor_of(network, clip_len=2)
    predictor.step(picture(0))
    with pytest.raises(IndexError):
        predictor.step(picture(9))  # no such frame in the script
    assert predictor.frame_index == 0
    assert predictor.step(picture(1)).ID_period == [2, 2]
    assert not predictor.is_keyframe
    predictor.step(picture(2))
    assert predictor.is_keyframe


class NumpyNetwork:
    """A network outside of PyTorch: images, answers and all in between are NumPy arrays."""

    def __init__(self) -> None:
        self.network = script([0.9] * 4, [0.8] * 4)

    def prepare(self, frame: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(frame.transpose(2, 0, 1))

    def keyframe(self, frames: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        assert all(type(frame) is np.ndarray for frame in frames)
        answers = self.network.keyframe(frames)
        del answers["queries"]  # only the association by queries needs them
        return {name: x.numpy() for name, x in answers.items()}

    def reuse(self, frames: Sequence[np.ndarray]) -> np.ndarray:
        assert all(type(frame) is np.ndarray for frame in frames)
        return self.network.reuse(frames).numpy()


def test_the_network_need_not_be_one_of_pytorch():
    options = {"clip_len": 2, "scene_cut_threshold": 50.0, "mask_rescore": True}
    exported = NumpyNetwork()
    predictor = predictor_of(exported, prepare=exported.prepare, **options)
    expected = predictor_of(script([0.9] * 4, [0.8] * 4), **options)
    for t in range(4):
        shown, wanted = predictor.step(picture(t)), expected.step(picture(t))
        assert shown.ID == wanted.ID == [1, 2]
        assert torch.equal(shown.scores, wanted.scores)
        assert torch.equal(shown.pred_masks, wanted.pred_masks)
    assert exported.network.key_frames == [[0], [2]]


def test_masks_rescore_the_scores():
    network = script([0.9], [0.8])
    network.mask_features[0, 0] *= 0.1
    plain = predictor_of(network).step(picture(0))
    rescored = predictor_of(network, mask_rescore=True).step(picture(0))
    assert plain.ID == [1, 2]
    assert rescored.scores[0] < plain.scores[0]
    assert torch.equal(rescored.pred_masks[0], plain.pred_masks[1])


def test_a_slot_without_a_mask_is_not_shown():
    network = script([0.9, 0.9], [0.8, 0.8])
    network.mask_features[1, 0] = -6.0
    predictor = predictor_of(network)
    assert predictor.step(picture(0)).ID == [1, 2]
    result = predictor.step(picture(1))
    assert result.ID == [2]
    assert result.ID_period == [2]


def test_at_most_so_many_instances():
    predictor = predictor_of(script([0.6], [0.9], [0.8]), max_instances=2)
    result = predictor.step(picture(0))
    assert result.scores.tolist() == pytest.approx([0.9, 0.8])


def test_nothing_visible_is_an_empty_result():
    result = predictor_of(script([0.1])).step(picture(0))
    assert len(result) == 0
    assert result.pred_masks.shape == (0, *FRAME_SIZE)
    assert result.ID == result.ID_period == result.lost_frame_count == []


def test_the_resolution_may_change_in_mid_stream():
    predictor = predictor_of(script([0.9] * 3, [0.8] * 3))
    sizes = [FRAME_SIZE, (40, 64), FRAME_SIZE]
    for t, size in enumerate(sizes):
        result = predictor.step(picture(t, size))
        assert result.ID == [1, 2]
        assert result.pred_masks.shape == (2, *size)


def test_a_real_model_follows_a_change_of_resolution():
    predictor = StreamingPredictor(
        tiny_config(TEST__TRACKING__CLIP_LEN=2, TEST__STREAMING__SCORE_ON=0.3), build_lively_model()
    )
    for t, size in enumerate([(96, 128), (96, 128), (120, 90), (60, 80)]):
        frame = noise_image(*size, t).permute(1, 2, 0).numpy()
        result = predictor.step(frame)
        assert len(result) > 0
        assert result.pred_masks.shape[1:] == size


def test_a_reset_starts_a_new_stream():
    network = script([0.9, 0.9], [0.1, 0.9]).permuted([torch.tensor([0, 1]), torch.tensor([1, 0])])
    predictor = predictor_of(network, clip_len=3)
    assert identities(predictor, 2) == [[1], [1]]
    predictor.reset()
    result = predictor.step(picture(1))
    assert network.key_frames == [[0], [1]]
    assert result.ID == [1, 2]
    assert result.ID_period == [1, 1]
    # Slots are queries again: equal scores keep the order of this frame's queries.
    assert result.pred_masks[:, 20, 48].tolist() == [True, False]


@pytest.mark.parametrize("rescore", [False, True])
@pytest.mark.parametrize("part", ["mask_features", "scores", "kernels"])
def test_a_stream_recovers_from_a_frame_of_no_numbers(part, rescore):
    network = script([0.9] * 5, [0.8] * 5)
    getattr(network, part)[2] = float("nan")
    predictor = predictor_of(network, smoothing=0.5, mask_rescore=rescore)
    shown = [predictor.step(picture(t)) for t in range(5)]
    assert [r.ID for r in shown[:2] + shown[3:]] == [[1, 2]] * 4
    assert all(r.scores.isfinite().all() for r in shown)
    assert part == "scores" or shown[2].ID == []


def test_maskness_is_read_of_slots_that_can_become_or_stay_visible(monkeypatch):
    read = []

    def read_masks(logits: torch.Tensor, *options: object) -> object:
        read.append(len(logits))
        return original(logits, *options)

    original = streaming_predictor.read_masks
    monkeypatch.setattr(streaming_predictor, "read_masks", read_masks)
    nan = float("nan")
    scores = torch.tensor(
        [[[0.9, 0.0], [0.1, 0.1], [0.35, nan]], [[0.1, 0.2], [nan, 0.2], [nan, 0.7]]]
    )
    predictor = predictor_of(ScriptedNetwork(scores), mask_rescore=True)
    assert predictor.step(picture(0)).ID == [1]
    assert predictor.step(picture(1)).ID == [2]
    # The first and the third: one that is hidden now, and one that could be shown.
    assert read == [2, 2]
