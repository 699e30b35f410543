"""Live tracking with a network whose answers are written down."""

from collections.abc import Sequence

import numpy as np
import torch
from scripted_network import FRAME_SIZE, ScriptedNetwork

from mobileinst_d2.tracking import StreamingPredictor


def prepare(frame: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(frame.transpose(2, 0, 1).copy())


def picture(number: int, size: tuple[int, int] = FRAME_SIZE) -> np.ndarray:
    """A frame that carries its number in its pixels."""
    return np.full((*size, 3), number, dtype=np.uint8)


def predictor_of(network: ScriptedNetwork, **options: object) -> StreamingPredictor:
    """A predictor without smoothing, so that scores are those of the script."""
    callables = {"keyframe": network.keyframe, "reuse": network.reuse, "prepare": prepare}
    defaults = {"smoothing": 0.0, "mask_rescore": False, "score_on": 0.5, "score_off": 0.3}
    return StreamingPredictor(**(callables | defaults | options))


def script(*tracks: Sequence[float]) -> ScriptedNetwork:
    """One query per track with one class, and its score in every frame."""
    return ScriptedNetwork(torch.tensor(tracks).T[..., None])


def identities(predictor: StreamingPredictor, length: int) -> list[list[int]]:
    return [predictor.step(picture(t)).ID for t in range(length)]
