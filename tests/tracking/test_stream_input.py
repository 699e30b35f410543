"""Live tracking: its frames and options, and which of them are refused."""

import numpy as np
import pytest
import torch
from scripted_stream import picture, predictor_of, script
from tiny_models import build_lively_model, build_tiny_model, tiny_config

from mobileinst_d2.tracking import FramePreparation, StreamingPredictor


@pytest.mark.parametrize(
    "frame",
    [
        np.zeros((48, 64), np.uint8),
        np.zeros((48, 64, 4), np.uint8),
        np.zeros((48, 64, 3), np.float32),
        np.zeros((3, 48, 64), np.uint8),
    ],
    ids=["grey", "alpha", "floats", "channels first"],
)
def test_frames_of_another_form_are_refused(frame):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
        predictor_of(script([0.9])).step(frame)


def test_a_refused_frame_does_not_disturb_the_stream():
    predictor = predictor_of(script([0.9, 0.9, 0.9]), clip_len=3)
    predictor.step(picture(0))
    with pytest.raises(ValueError, match="uint8"):
        predictor.step(np.zeros((48, 64), np.uint8))
    assert predictor.step(picture(1)).ID == [1]
    assert predictor.step(picture(2)).ID_period == [3]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"score_on": 0.2, "score_off": 0.4}, "SCORE_OFF 0.4 and SCORE_ON 0.2"),
        ({"score_on": 1.2}, "SCORE_ON 1.2"),
        ({"smoothing": 1.0}, r"SMOOTHING is 1\.0"),
        ({"clip_len": 0}, "CLIP_LEN is 0"),
        ({"scene_cut_threshold": -1.0}, r"SCENE_CUT_THRESHOLD is -1\.0"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        predictor_of(script([0.9]), **options)


@pytest.mark.parametrize("image_format", ["RGB", "BGR"])
def test_frames_are_prepared_as_in_evaluation(image_format):
    seen = []
    model = build_lively_model()
    keyframe = model.keyframe
    model.keyframe = lambda frames: seen.extend(frames) or keyframe(frames)
    predictor = StreamingPredictor(tiny_config(INPUT__FORMAT=image_format), model)
    frame = np.zeros((192, 256, 3), np.uint8)
    frame[..., 0] = 200  # blue, as OpenCV reads frames
    predictor.step(frame)
    (image,) = seen
    assert image.shape == (3, 96, 128)  # INPUT.MIN_SIZE_TEST
    assert image.dtype == torch.uint8
    assert [int(channel.max()) for channel in image] == (
        [0, 0, 200] if image_format == "RGB" else [200, 0, 0]
    )


def test_frames_fit_into_a_fixed_size():
    prepare = FramePreparation(tiny_config(INPUT__FIXED_SIZE_TEST=(64, 128)))
    assert prepare(np.zeros((360, 640, 3), np.uint8)).shape == (3, 64, 114)


def test_the_predictor_reads_its_config():
    cfg = tiny_config(
        TEST__STREAMING__SCORE_ON=0.7,
        TEST__STREAMING__SCORE_OFF=0.6,
        TEST__STREAMING__MAX_LOST=3,
        TEST__STREAMING__MAX_INSTANCES=4,
        TEST__STREAMING__SMOOTHING=0.5,
        TEST__STREAMING__CLASS_MARGIN=0.2,
        TEST__STREAMING__SCENE_CUT_THRESHOLD=25.0,
        TEST__TRACKING__CLIP_LEN=6,
    )
    predictor = StreamingPredictor(cfg, build_tiny_model())
    lifecycle = predictor.lifecycle
    assert (lifecycle.score_on, lifecycle.score_off) == (0.7, 0.6)
    assert (lifecycle.max_lost, predictor.max_instances) == (3, 4)
    assert (lifecycle.smoothing, lifecycle.class_margin) == (0.5, 0.2)
    assert predictor.scene_cut_threshold == 25.0
    assert predictor.stepper.clip_len == 6


def test_a_model_in_training_mode_is_refused():
    predictor = StreamingPredictor(tiny_config(), build_tiny_model())
    with pytest.raises(RuntimeError, match=r"model\.eval\(\)"):
        predictor.step(picture(0))


@pytest.mark.parametrize("frame", [None, np.zeros((0, 64, 3), np.uint8)], ids=["none", "empty"])
def test_a_frame_that_could_not_be_read_is_refused(frame):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8 array"):
        predictor_of(script([0.9])).step(frame)
