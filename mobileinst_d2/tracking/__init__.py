"""Association of key frames and prediction of whole videos and streams."""

from .kernel_tracker import KernelTracker, SlotView
from .preparation import FramePreparation
from .step import FrameStepper, SlotFrame
from .streaming_predictor import StreamingPredictor
from .track_collector import TrackCollector
from .video_predictor import VideoPredictor

__all__ = [
    "FramePreparation",
    "FrameStepper",
    "KernelTracker",
    "SlotFrame",
    "SlotView",
    "StreamingPredictor",
    "TrackCollector",
    "VideoPredictor",
]
