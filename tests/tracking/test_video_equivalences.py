"""Whole videos, live tracking and images agree, with a real network."""

import dataclasses

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from pycocotools import mask as mask_util
from tiny_models import moving_video, noise_image, tiny_config

from mobileinst_core.tracking.association import MovingAverage, PreviousKeyframe, Tracker
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor

of_both = pytest.mark.parametrize(("clip_len", "mode"), [(1, "ema"), (3, "prev")])


def tracker_of(mode: str) -> Tracker:
    """All key frames change the reference, whatever the scores of the random network."""
    return MovingAverage(update_threshold=0.0) if mode == "ema" else PreviousKeyframe()


def model_predictor(
    model: torch.nn.Module, clip_len: int = 1, mode: str = "prev", **options: object
) -> VideoPredictor:
    return VideoPredictor(
        tiny_config(), model, clip_len=clip_len, tracker=tracker_of(mode), **options
    )


def decode(rle: dict | None, size: tuple[int, int]) -> np.ndarray:
    return np.zeros(size, dtype=bool) if rle is None else mask_util.decode(rle).astype(bool)


def check_form(result: dict, length: int, size: tuple[int, int]) -> None:
    assert result["length"] == length
    assert result["image_size"] == size
    count = len(result["pred_scores"])
    assert (
        len(result["pred_labels"]) == len(result["pred_ids"]) == len(result["pred_rles"]) == count
    )
    assert result["pred_scores"] == sorted(result["pred_scores"], reverse=True)
    assert all(isinstance(score, float) for score in result["pred_scores"])
    assert all(isinstance(x, int) for x in result["pred_labels"] + result["pred_ids"])
    for track in result["pred_rles"]:
        assert len(track) == length
        assert any(track)
        for rle in track:
            assert rle is None or (tuple(rle["size"]) == size and mask_util.area(rle) > 0)


def check_same(result: dict, expected: dict, tolerance: float = 1e-4) -> None:
    """Equal tracks, up to the rounding of batches of another size."""
    assert result["pred_ids"] == expected["pred_ids"]
    assert result["pred_labels"] == expected["pred_labels"]
    assert result["pred_scores"] == pytest.approx(expected["pred_scores"], abs=tolerance)
    size = expected["image_size"]
    for track, wanted in zip(result["pred_rles"], expected["pred_rles"], strict=True):
        for rle, other in zip(track, wanted, strict=True):
            assert (decode(rle, size) != decode(other, size)).mean() < 1e-3


@pytest.mark.parametrize("size", [(96, 128), (70, 131), (20, 33)])
@pytest.mark.parametrize("rescore", [True, False])
def test_a_video_of_one_frame_is_an_image(lively_model, monkeypatch, size, rescore):
    image = noise_image(*size)
    inputs = {"image": image, "height": 117, "width": 53}
    postprocessing = dataclasses.replace(lively_model.postprocessing, mask_rescore=rescore)
    monkeypatch.setattr(lively_model, "postprocessing", postprocessing)
    with torch.no_grad():
        expected: Instances = lively_model([inputs])[0]["instances"]
    predictor = model_predictor(lively_model, postprocessing=postprocessing)

    (result,) = predictor([{**inputs, "image": [image], "video_id": 4}])

    check_form(result, 1, (117, 53))
    assert result["video_id"] == 4
    assert len(expected) > 5
    assert result["pred_scores"] == expected.scores.tolist()
    assert result["pred_labels"] == expected.pred_classes.tolist()
    for (rle,), mask in zip(result["pred_rles"], expected.pred_masks.numpy(), strict=True):
        assert np.array_equal(decode(rle, (117, 53)), mask)


@of_both
def test_the_size_of_the_chunks_does_not_matter(lively_model, clip_len, mode):
    video = moving_video(10)
    results = []
    for chunk in (10, 1, 3, 100):
        predictor = model_predictor(lively_model, clip_len, mode, chunk=chunk)
        results.append(predictor.predict(video, (70, 101)))
    check_form(results[0], 10, (70, 101))
    assert len(results[0]["pred_ids"]) > 5
    for result in results[1:]:
        check_same(result, results[0])


@of_both
def test_live_tracking_has_the_tracks_and_masks_of_the_whole_video(lively_model, clip_len, mode):
    length, size = 7, (64, 96)
    video = [frame.permute(1, 2, 0).numpy() for frame in moving_video(length, *size)]
    cfg = tiny_config(
        TEST__TRACKING__CLIP_LEN=clip_len,
        TEST__SCORE_THRESHOLD=0.0,
        TEST__DETECTIONS_PER_IMAGE=20,
        TEST__STREAMING__SCORE_ON=0.0,  # every track is visible from the first frame
        TEST__STREAMING__SCORE_OFF=0.0,
    )
    live = StreamingPredictor(cfg, lively_model, tracker=tracker_of(mode))
    predictor = VideoPredictor(cfg, lively_model, tracker=tracker_of(mode), chunk=3)
    whole = predictor.predict(map(live.prepare, video), size)

    tracks = dict(zip(whole["pred_ids"], whole["pred_rles"], strict=True))
    assert len(tracks) > 5
    # With every track visible since the first frame, identities are tracks in the order of scores.
    track_of = None
    for t, frame in enumerate(video):
        shown = live.step(frame)
        assert live.is_keyframe == (t % clip_len == 0)
        if track_of is None:
            track_of = dict(zip(range(1, 21), live.tracks.visible(20).tolist(), strict=True))
        masks = {track_of[i]: x.numpy() for i, x in zip(shown.ID, shown.pred_masks, strict=True)}
        for track, rles in tracks.items():
            mask = masks.get(track, np.zeros(size, bool))
            assert (mask != decode(rles[t], size)).mean() < 1e-3
