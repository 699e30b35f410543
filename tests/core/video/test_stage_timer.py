"""Medians of stages, on a clock that the test moves."""

import pytest

from mobileinst_core.video import stage_timer
from mobileinst_core.video.stage_timer import StageTimer


@pytest.fixture
def clock(monkeypatch):
    class Clock:
        now = 0.0

        def perf_counter(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(stage_timer, "time", clock)
    return clock


def test_stages_are_summed_within_a_frame_and_their_medians_taken_over_frames(clock):
    timer = StageTimer()
    for number in range(3):
        timer.start_frame({"read": 1.0, "network": 10.0 * (number + 1)})
        for _ in range(2):
            with timer.measure("draw"):
                clock.now += 2.0
        if number == 2:
            with timer.measure("write"):
                clock.now += 5.0
        clock.now += 100.0  # belongs to no stage
    assert timer.medians() == {"read": 1, "network": 20, "draw": 4, "write": 0, "total": 25}
    assert timer.medians(without=["draw", "write"])["total"] == 21
    table = timer.table()
    assert "network      20000.0" in table
    assert "0.0 without drawing and writing (medians of 3 frames)" in table
