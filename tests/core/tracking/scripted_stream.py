"""Live tracking with a network whose answers are written down."""

from collections.abc import Sequence

import numpy as np
import torch
from scripted_network import FRAME_SIZE, ScriptedNetwork

from mobileinst_core.postprocessing import PostProcessing
from mobileinst_core.tracking.online import OnlineTracker


def prepare(frame: np.ndarray) -> np.ndarray:
    return frame.transpose(2, 0, 1).copy()


def frame_of(number: int, size: tuple[int, int] = FRAME_SIZE) -> np.ndarray:
    """A frame that carries its number in its pixels."""
    return np.full((*size, 3), number, dtype=np.uint8)


def tracker_of(
    network: ScriptedNetwork, *, mask_rescore: bool = False, **options: object
) -> OnlineTracker:
    """A tracker without smoothing, so that scores are those of the script."""
    defaults = {"prepare": prepare, "smoothing": 0.0, "score_on": 0.5, "score_off": 0.3}
    postprocessing = PostProcessing(mask_rescore=mask_rescore)
    return OnlineTracker(
        network.network(), **(defaults | {"postprocessing": postprocessing} | options)
    )


def script(*tracks: Sequence[float]) -> ScriptedNetwork:
    """One query per track with one class, and its score in every frame."""
    return ScriptedNetwork(torch.tensor(tracks).T[..., None])


def identities(tracker: OnlineTracker, length: int) -> list[list[int]]:
    return [tracker.step(frame_of(t)).ids.tolist() for t in range(length)]
