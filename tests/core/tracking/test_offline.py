import weakref

import numpy as np
import pytest
import torch
from reference_masks import upsample
from scripted_network import FRAME_SIZE, ScriptedNetwork, frame_of, video_of

from mobileinst_core.postprocessing import PostProcessing
from mobileinst_core.tracking.offline import OfflineTracker


def tracker_of(
    network: ScriptedNetwork,
    *,
    mask_rescore: bool = True,
    score_threshold: float = 0.005,
    max_detections: int = 10,
    **options: object,
) -> OfflineTracker:
    postprocessing = PostProcessing(
        score_threshold=score_threshold, mask_rescore=mask_rescore, max_detections=max_detections
    )
    return OfflineTracker(network.network(), postprocessing=postprocessing, **options)


def scripted(length: int = 6, queries: int = 4, classes: int = 3) -> ScriptedNetwork:
    """Queries with a clear class each: query n has class n % classes and a score of its own."""
    scores = torch.rand(length, queries, classes) * 0.05
    for n in range(queries):
        scores[:, n, n % classes] = 0.9 - 0.1 * n + 0.02 * torch.rand(length)
    return ScriptedNetwork(scores)


def test_permuting_the_queries_of_every_frame_changes_track_numbers_only():
    network = scripted()
    orders = [torch.randperm(4) for _ in range(6)]
    expected = tracker_of(network).predict(video_of(6), FRAME_SIZE)
    result = tracker_of(network.permuted(orders)).predict(video_of(6), FRAME_SIZE)
    assert len(expected["pred_ids"]) == 4
    assert orders[0][result["pred_ids"]].tolist() == expected["pred_ids"]
    assert result["pred_labels"] == expected["pred_labels"]
    assert result["pred_scores"] == pytest.approx(expected["pred_scores"], abs=1e-6)
    assert result["pred_rles"] == expected["pred_rles"]


@pytest.mark.parametrize("clip_len", [1, 2, 4])
@pytest.mark.parametrize("pool", ["prob_mean", "logit_mean", "max"])
def test_scores_are_pooled_over_frames(pool, clip_len):
    network = scripted(length=5, queries=2)
    result = tracker_of(network, score_pool=pool, clip_len=clip_len, mask_rescore=False).predict(
        video_of(5), FRAME_SIZE
    )

    # A frame that reuses a key frame counts with the key frame's scores.
    probs = torch.stack([network.scores[t - t % clip_len] for t in range(5)])
    expected = {
        "prob_mean": probs.mean(0),
        "logit_mean": (probs / (1 - probs)).log().mean(0).sigmoid(),
        "max": probs.amax(0),
    }[pool].amax(1)
    assert result["pred_scores"] == pytest.approx(expected.tolist(), abs=1e-5)
    assert result["pred_labels"] == [0, 1]


@pytest.mark.parametrize("pool", ["prob_mean", "logit_mean", "max"])
def test_scores_of_exactly_zero_and_one_can_be_pooled(pool):
    scores = torch.tensor([[[1.0, 0.0]], [[1.0, 0.0]]])
    result = tracker_of(ScriptedNetwork(scores), score_pool=pool, mask_rescore=False).predict(
        video_of(2), FRAME_SIZE
    )
    assert result["pred_scores"] == pytest.approx([1.0], abs=1e-4)


def test_rescoring_averages_the_maskness_over_the_frames_that_show_the_track():
    network = scripted(length=4, queries=2)
    network.mask_features[2:] = -6.0  # both gone
    network.mask_features[1] *= 0.2
    plain = tracker_of(network, mask_rescore=False).predict(video_of(4), FRAME_SIZE)
    result = tracker_of(network).predict(video_of(4), FRAME_SIZE)
    quality = []
    for t in (0, 1):
        probs = upsample(network.mask_features[t])[0].sigmoid()
        quality.append(probs[probs > 0.45].mean().item())
    expected = plain["pred_scores"][0] * sum(quality) / 2
    assert result["pred_scores"][0] == pytest.approx(expected, rel=1e-4)
    assert [rle is None for rle in result["pred_rles"][0]] == [False, False, True, True]


def test_a_track_has_its_best_class_or_all_of_them():
    scores = torch.tensor([[[0.9, 0.6], [0.2, 0.7]]]).repeat(2, 1, 1)
    network = ScriptedNetwork(scores)
    options = {"mask_rescore": False, "score_threshold": 0.5}
    best = tracker_of(network, **options).predict(video_of(2), FRAME_SIZE)
    assert list(zip(best["pred_ids"], best["pred_labels"], strict=True)) == [(0, 0), (1, 1)]
    everything = tracker_of(network, labels_per_track="all", **options).predict(
        video_of(2), FRAME_SIZE
    )
    assert list(zip(everything["pred_ids"], everything["pred_labels"], strict=True)) == [
        (0, 0),
        (1, 1),
        (0, 1),
    ]
    assert everything["pred_rles"][0] == everything["pred_rles"][2]


def test_a_track_is_absent_where_its_key_frame_doubts_it():
    network = scripted(length=6, queries=2)
    network.scores[2:4, 0] = 0.1
    tracker = tracker_of(network, clip_len=2, presence_threshold=0.3)
    result = tracker.predict(video_of(6), FRAME_SIZE)
    tracks = dict(zip(result["pred_ids"], result["pred_rles"], strict=True))
    assert [rle is None for rle in tracks[0]] == [False, False, True, True, False, False]
    assert not any(rle is None for rle in tracks[1])


def test_a_track_is_absent_where_many_others_have_better_scores():
    network = scripted(length=12, queries=5, classes=5)
    network.scores[2, 0] = 0.3  # behind three others, which end behind it
    result = tracker_of(network, max_detections=1).predict(video_of(12), FRAME_SIZE)
    assert result["pred_ids"] == [0]
    assert [t for t, rle in enumerate(result["pred_rles"][0]) if rle is None] == [2]
    everything = tracker_of(network, max_detections=2).predict(video_of(12), FRAME_SIZE)
    assert not any(rle is None for rle in everything["pred_rles"][0])


def test_nothing_found_is_an_empty_result():
    result = tracker_of(scripted(), score_threshold=1.0).predict(video_of(3), (90, 120))
    assert (result.pop("image_size"), result.pop("length")) == ((90, 120), 3)
    assert result == {key: [] for key in ("pred_scores", "pred_labels", "pred_ids", "pred_rles")}


def test_videos_do_not_see_each_other():
    network = scripted().permuted([torch.arange(4).roll(t) for t in range(6)])
    expected = tracker_of(network, clip_len=4).predict(video_of(6), FRAME_SIZE)
    tracker = tracker_of(network, clip_len=4)
    tracker.predict(video_of(6)[::-1], FRAME_SIZE)
    assert tracker.predict(video_of(6), FRAME_SIZE) == expected


def test_an_empty_video_is_refused():
    with pytest.raises(ValueError, match="no frames"):
        tracker_of(scripted()).predict([], FRAME_SIZE)


@pytest.mark.parametrize("chunk", [1, 8])
def test_a_frame_of_another_size_is_named(chunk):
    video = [*video_of(2), frame_of(2, (48, 80))]
    message = r"frame 2 has the size \(48, 80\), the first frame \(48, 64\)"
    with pytest.raises(ValueError, match=message):
        tracker_of(scripted(), chunk=chunk).predict(video, FRAME_SIZE)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"chunk": 0}, "chunk is 0"),
        ({"labels_per_track": "first"}, "labels_per_track is 'first'"),
        ({"score_pool": "median"}, "score_pool is 'median'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        tracker_of(scripted(), **options)


def test_memory_of_frames_is_that_of_one_chunk():
    frames, most_alive = [], 0

    def read():
        nonlocal most_alive
        for number in range(23):
            frame = frame_of(number)
            frames.append(weakref.ref(frame))
            most_alive = max(most_alive, sum(x() is not None for x in frames))
            yield frame
            del frame

    tracker_of(ScriptedNetwork(torch.rand(23, 4, 3)), chunk=4).predict(read(), FRAME_SIZE)
    assert len(frames) == 23
    assert most_alive <= 4


@pytest.mark.parametrize("pool", ["prob_mean", "logit_mean", "max"])
@pytest.mark.parametrize("part", ["mask_features", "scores", "kernels"])
def test_a_frame_of_no_numbers_costs_that_frame_only(part, pool):
    network = scripted(length=5)
    expected = tracker_of(network).predict(video_of(5), FRAME_SIZE)
    getattr(network, part)[2] = float("nan")
    result = tracker_of(network, score_pool=pool).predict(video_of(5), FRAME_SIZE)
    assert result["pred_ids"] == expected["pred_ids"]
    assert result["pred_labels"] == expected["pred_labels"]
    assert all(np.isfinite(result["pred_scores"]))
    for track, wanted in zip(result["pred_rles"], expected["pred_rles"], strict=True):
        assert [rle for t, rle in enumerate(track) if t != 2] == wanted[:2] + wanted[3:]
        assert part == "scores" or track[2] is None


def test_frames_that_were_not_predicted_are_gaps_and_change_no_score():
    network = scripted(length=4)
    tracker = tracker_of(network)
    expected = tracker.predict(video_of(4), FRAME_SIZE)
    tracks = tracker.new_video()
    tracker.runner.reset()
    for index, frame in enumerate(tracker.runner(video_of(4))):
        if index == 2:
            tracks.add(None)
        tracks.add(frame)
    result = tracks.result(FRAME_SIZE, FRAME_SIZE)
    assert result["length"] == 5
    assert result["pred_scores"] == expected["pred_scores"]
    for track, wanted in zip(result["pred_rles"], expected["pred_rles"], strict=True):
        assert track == [*wanted[:2], None, *wanted[2:]]
