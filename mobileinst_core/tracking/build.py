"""The ways of association by name."""

from mobileinst_core.options import check_option

from .association import Tracker
from .moving_average import MovingAverage
from .previous import PreviousKeyframe

__all__ = ["TRACKING_MODES", "build_tracker"]

TRACKING_MODES = ("prev", "ema")


def build_tracker(
    mode: str = "prev", *, ema_momentum: float = 0.3, update_threshold: float = 0.4
) -> Tracker:
    """Make a tracker that has seen nothing.

    Args:
        mode: "prev" compares a key frame with the one before, "ema" with a moving average.
        ema_momentum: see :class:`MovingAverage`; for "ema".
        update_threshold: likewise.

    Returns:
        The tracker.

    Raises:
        ValueError: if an argument is unknown or out of range.
    """
    check_option("mode", mode, TRACKING_MODES)
    memory = MovingAverage(momentum=ema_momentum, update_threshold=update_threshold)
    return memory if mode == "ema" else PreviousKeyframe()
