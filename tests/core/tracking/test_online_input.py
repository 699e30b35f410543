"""Live tracking: its frames and options, and which of them are refused."""

import numpy as np
import pytest
from scripted_stream import script, tracker_of


@pytest.mark.parametrize("frame", [np.zeros((3, 48, 64), np.uint8), np.zeros((0, 64, 3), np.uint8)])
def test_frames_of_another_form_are_refused(frame):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8"):
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
