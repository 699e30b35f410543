"""What each option of video prediction changes, on predictors that the config builds."""

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from pycocotools import mask as mask_util
from scripted_network import FRAME_SIZE, ScriptedNetwork, columns, video_of
from tiny_models import tiny_config

from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor

# Two queries, with a class each, through four frames. The scores change from frame to frame.
SCORES = [[0.9, 0.5, 0.7, 0.7], [0.4, 0.6, 0.2, 0.4]]


def scripted(**answers: torch.Tensor) -> ScriptedNetwork:
    scores = torch.zeros(4, 2, 3)
    scores[:, 0, 0], scores[:, 1, 1] = torch.tensor(SCORES)
    return ScriptedNetwork(scores, **answers)


def predict(network: ScriptedNetwork, **options: object) -> dict:
    """Predict the four frames with the options of TEST.

    Scores are not rescored, so that they are what the network said.
    """
    options = {"MASK_RESCORE": False, **options}
    cfg = tiny_config(**{f"TEST__{name}": value for name, value in options.items()})
    return VideoPredictor(cfg, network).predict(video_of(4), FRAME_SIZE)


def show(network: ScriptedNetwork, **options: object) -> list[Instances]:
    """What live tracking with the options of TEST shows of the four frames."""
    options = {"MASK_RESCORE": False, "STREAMING__SCORE_ON": 0.2, **options}
    size = {"INPUT__MIN_SIZE_TEST": FRAME_SIZE[0], "INPUT__MAX_SIZE_TEST": FRAME_SIZE[1]}
    cfg = tiny_config(**size, **{f"TEST__{name}": value for name, value in options.items()})
    predictor = StreamingPredictor(cfg, network)
    return [predictor.step(np.full((*FRAME_SIZE, 3), t, np.uint8)) for t in range(4)]


def left_edges(track: list[dict | None]) -> list[int | None]:
    """Where the mask begins in each frame."""
    return [
        None if rle is None else int(np.flatnonzero(mask_util.decode(rle).any(0))[0])
        for rle in track
    ]


@pytest.mark.parametrize(
    ("clip_len", "key_frames", "reused"),
    [(1, [0, 1, 2, 3], []), (2, [0, 2], [1, 3]), (3, [0, 3], [1, 2])],
)
def test_clip_len_is_the_distance_of_key_frames(clip_len, key_frames, reused):
    network = scripted()
    predict(network, TRACKING__CLIP_LEN=clip_len)
    assert [t for chunk in network.key_frames for t in chunk] == key_frames
    assert [t for chunk in network.reused_frames for t in chunk] == reused


@pytest.mark.parametrize(("chunk", "sizes"), [(8, [4]), (3, [3, 1]), (1, [1, 1, 1, 1])])
def test_chunk_is_the_number_of_frames_that_go_together(chunk, sizes):
    network = scripted()
    predict(network, TRACKING__CHUNK=chunk)
    assert [len(frames) for frames in network.key_frames] == sizes


@pytest.mark.parametrize(
    ("rule", "tracks"), [("best", [(0, 0), (1, 1)]), ("all", [(0, 0), (1, 1), (0, 2)])]
)
def test_labels_per_track_are_one_or_all(rule, tracks):
    network = scripted()
    network.scores[:, 0, 2] = 0.1  # a second class of query 0
    result = predict(network, TRACKING__LABELS_PER_TRACK=rule)
    assert list(zip(result["pred_ids"], result["pred_labels"], strict=True)) == tracks


@pytest.mark.parametrize(("keep", "tracks"), [(0, [0, 1]), (1, [0])])
def test_keep_tracks_forgets_the_masks_of_the_weakest(keep, tracks):
    assert predict(scripted(), TRACKING__KEEP_TRACKS=keep)["pred_ids"] == tracks


@pytest.mark.parametrize("rescore", [False, True])
def test_mask_rescore_multiplies_by_the_mean_foreground_probability(rescore):
    network = scripted(mask_features=columns(2).clamp(max=1.0).repeat(4, 1, 1, 1))
    result = predict(network, MASK_RESCORE=rescore)
    best = result["pred_scores"][0]
    # The foreground has a probability of sigmoid(1), and less than that along its edges.
    assert best < 0.7 * 0.732 if rescore else best == pytest.approx(0.7)
    assert best > 0.7 * 0.45
    shown = show(network, MASK_RESCORE=rescore)[0].scores[0].item()
    assert shown < 0.9 * 0.732 if rescore else shown == pytest.approx(0.9)


@pytest.mark.parametrize(("threshold", "tracks"), [(0.45, [0, 1]), (0.8, [])])
def test_mask_threshold_is_the_probability_of_the_foreground(threshold, tracks):
    network = scripted(mask_features=columns(2).clamp(max=1.0).repeat(4, 1, 1, 1))
    assert predict(network, MASK_THRESHOLD=threshold)["pred_ids"] == tracks
    assert len(show(network, MASK_THRESHOLD=threshold)[0]) == len(tracks)


@pytest.mark.parametrize(("threshold", "tracks"), [(0.005, [0, 1]), (0.5, [0]), (0.7001, [])])
def test_score_threshold_leaves_out_tracks(threshold, tracks):
    assert predict(scripted(), SCORE_THRESHOLD=threshold)["pred_ids"] == tracks


@pytest.mark.parametrize(("limit", "tracks"), [(10, [0, 1]), (1, [0])])
def test_detections_per_image_is_the_limit_of_tracks(limit, tracks):
    assert predict(scripted(), DETECTIONS_PER_IMAGE=limit)["pred_ids"] == tracks
