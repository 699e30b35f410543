"""The ways of association by name, and the thresholds of streams."""

from collections.abc import Mapping
from typing import Any

from mobileinst_core.options import check_option

from .association import Tracker
from .moving_average import MovingAverage
from .previous import PreviousKeyframe

__all__ = ["TRACKING_MODES", "build_tracker", "scale_hysteresis"]

TRACKING_MODES = ("prev", "ema")


def build_tracker(mode: str) -> Tracker:
    """Make a tracker that has seen nothing.

    Args:
        mode: "prev" compares a key frame with the one before, "ema" with a moving average.

    Returns:
        The tracker.

    Raises:
        ConfigError: if the mode is unknown.
    """
    check_option("mode", mode, TRACKING_MODES)
    return MovingAverage() if mode == "ema" else PreviousKeyframe()


def scale_hysteresis(streaming: Mapping[str, Any], score_on: float) -> dict[str, Any]:
    """Let tracks of a stream appear at another score.

    Args:
        streaming: options of :class:`~.online.OnlineTracker`.
        score_on: the score, in [0, 1].

    Returns:
        A changed copy. ``score_off`` keeps its ratio to ``score_on``, as the distance between
        appearing and vanishing keeps tracks from flickering.
    """
    before = streaming["score_on"]
    share = streaming["score_off"] / before if before > 0 else 1.0
    return {**streaming, "score_on": score_on, "score_off": score_on * share}
