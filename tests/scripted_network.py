"""A network whose answers are written down, for tests of tracking."""

from collections.abc import Sequence

import numpy as np
import torch

from mobileinst_core.tracking.keyframes import VideoNetwork

FRAME_SIZE = (48, 64)
_STRIDE, _UPSAMPLING = 8, 2


def frame_of(number: int, size: tuple[int, int] = FRAME_SIZE) -> torch.Tensor:
    """A frame that carries its number in its pixels, (3, H, W) uint8."""
    return torch.full((3, *size), number, dtype=torch.uint8)


def video_of(length: int) -> list[torch.Tensor]:
    """Frames 0 to length - 1."""
    return [frame_of(t) for t in range(length)]


class ScriptedNetwork:
    """Answers for frame t with the t-th kernels, scores and mask features; counts its calls.

    By default kernel n is the n-th unit vector and mask n a column of the image, so that every
    query has its own kernel and its own mask.
    """

    mask_stride, mask_upsampling = _STRIDE, _UPSAMPLING

    def __init__(
        self,
        scores: torch.Tensor,
        kernels: torch.Tensor | None = None,
        mask_features: torch.Tensor | None = None,
    ) -> None:
        """Write down the answers.

        Args:
            scores: (F, N, K).
            kernels: (F, N, D).
            mask_features: (F, D, h, w).
        """
        length, count, _ = scores.shape
        self.scores = scores
        self.kernels = torch.eye(count).repeat(length, 1, 1) if kernels is None else kernels
        if mask_features is None:
            mask_features = columns(count).repeat(length, 1, 1, 1)
        self.mask_features = mask_features
        self.key_frames: list[list[int]] = []
        self.reused_frames: list[list[int]] = []

    def network(self) -> VideoNetwork:
        """As tracking sees it."""
        return VideoNetwork(self.keyframe, self.reuse, _STRIDE, _UPSAMPLING)

    def keyframe(self, frames: Sequence[torch.Tensor]) -> dict[str, np.ndarray]:
        """The answers for key frames, as a :class:`VideoNetwork` gives them."""
        numbers = [int(frame[0, 0, 0]) for frame in frames]
        self.key_frames.append(numbers)
        names = ("kernels", "scores", "mask_features")
        return {name: _chosen(getattr(self, name), numbers) for name in names}

    def reuse(self, frames: Sequence[torch.Tensor]) -> np.ndarray:
        """The answers for other frames."""
        numbers = [int(frame[0, 0, 0]) for frame in frames]
        self.reused_frames.append(numbers)
        return _chosen(self.mask_features, numbers)

    def permuted(self, orders: Sequence[torch.Tensor]) -> "ScriptedNetwork":
        """The same answers, with the queries of each frame in another order."""
        shuffled = {
            name: torch.stack(
                [x[order] for x, order in zip(getattr(self, name), orders, strict=True)]
            )
            for name in ("scores", "kernels")
        }
        return ScriptedNetwork(mask_features=self.mask_features, **shuffled)


def _chosen(answers: torch.Tensor, numbers: list[int]) -> np.ndarray:
    # A list as an index makes PyTorch look for attributes by new strings, of which Python's cache
    # of attributes keeps some, and the memory of a stream is counted.
    return torch.stack([answers[number] for number in numbers]).detach().numpy()


def columns(count: int, size: tuple[int, int] = FRAME_SIZE) -> torch.Tensor:
    """Features whose n-th channel is high in the n-th of ``count`` columns, (count, h, w)."""
    height, width = (-(-side // 64) * 64 // _STRIDE for side in size)
    features = torch.full((count, height, width), -6.0)
    step = size[1] // _STRIDE // count
    for n in range(count):
        features[n, : size[0] // _STRIDE, n * step : (n + 1) * step] = 6.0
    return features
