"""Overrides of an exported model's thresholds by their config keys."""

import pytest

from mobileinst_core.errors import UserError
from mobileinst_core.runtime.thresholds import override_thresholds

THRESHOLDS = {
    "score": 0.05,
    "mask": 0.45,
    "mask_rescore": True,
    "max_detections": 100,
    "tracking": {"clip_len": 1, "mode": "prev"},
    "streaming": {"score_on": 0.4},
}


def test_every_threshold_has_its_config_key():
    opts = ["TEST.SCORE_THRESHOLD", "0.1", "TEST.MASK_THRESHOLD", "0.5"]
    opts += ["TEST.MASK_RESCORE", "False", "TEST.DETECTIONS_PER_IMAGE", "7"]
    opts += ["TEST.TRACKING.CLIP_LEN", "3", "TEST.TRACKING.MODE", "ema"]
    opts += ["TEST.STREAMING.SCORE_ON", "1"]
    assert override_thresholds(THRESHOLDS, opts) == {
        "score": 0.1,
        "mask": 0.5,
        "mask_rescore": False,
        "max_detections": 7,
        "tracking": {"clip_len": 3, "mode": "ema"},
        "streaming": {"score_on": 1.0},
    }


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["TEST.SCORE_TRESHOLD", "1"], r"closest is 'TEST\.SCORE_THRESHOLD'"),
        (["MODEL.WEIGHTS", "a.pth"], r"MODEL\.WEIGHTS cannot be changed in an exported model"),
        (["TEST.TRACKING", "1"], r"TEST\.TRACKING cannot be changed"),
        (["TEST.SCORE_THRESHOLD"], "has no value"),
        (["--clip-len", "3"], "must come before"),
        (["TEST.TRACKING.CLIP_LEN", "often"], r"CLIP_LEN is 'often'; .* such as 1"),
        (["TEST.TRACKING.CLIP_LEN", "1.5"], r"CLIP_LEN is '1\.5'; .* such as 1"),
        (["TEST.TRACKING.CLIP_LEN", "True"], r"CLIP_LEN is 'True'"),
        (["TEST.SCORE_THRESHOLD", "True"], r"SCORE_THRESHOLD is 'True'"),
        (["TEST.MASK_RESCORE", "1"], r"MASK_RESCORE is '1'; .* such as True"),
    ],
)
def test_overrides_that_cannot_be_used_are_named(opts, message):
    with pytest.raises(UserError, match=message):
        override_thresholds(THRESHOLDS, opts)
