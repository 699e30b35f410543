"""The step from frames to slots that whole-video and live prediction share."""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch

from ..modeling.options import check_option
from ..modeling.postprocess import mask_product
from .kernel_tracker import KernelTracker

__all__ = ["ASSOCIATION_FEATURES", "FrameStepper", "SlotFrame"]

# Values of TEST.TRACKING.ASSOCIATION_FEATURE, and the output of a key frame that each stands for.
ASSOCIATION_FEATURES = {"kernel": "kernels", "query": "queries"}

Array = torch.Tensor | np.ndarray
KeyframeFunction = Callable[[Sequence[Array]], Mapping[str, Array]]
ReuseFunction = Callable[[Sequence[Array]], Array]


class SlotFrame(NamedTuple):
    """One frame in slot order.

    Attributes:
        is_keyframe: the kernels are this frame's own.
        scores: (N, K), of the last key frame, in [0, 1].
        mask_logits: (N, h, w), at stride 8 of the padded input.
    """

    is_keyframe: bool
    scores: torch.Tensor
    mask_logits: torch.Tensor


class FrameStepper:
    """Runs the network on frames in order: key frames in full, the others with reused kernels.

    Paper, section 3.5, eq. 1: kernels and scores of a key frame serve the next T - 1 frames.

    Frames are handed to the network as they come, and what it returns may be tensors or NumPy
    arrays, so an exported model can take the place of one in PyTorch.

    Attributes:
        timings: seconds of the last call in "network", "association" and "masks".
    """

    def __init__(
        self,
        keyframe: KeyframeFunction,
        reuse: ReuseFunction,
        *,
        clip_len: int = 1,
        association_feature: str = "kernel",
        tracker: KernelTracker | None = None,
        score_shape: tuple[int, int] | None = None,
    ) -> None:
        """Set up for a first video.

        Args:
            keyframe: maps B frames to ``kernels`` (B, N, D), ``queries`` (B, N, C), ``scores``
                (B, N, K) and ``mask_features`` (B, D, h, w). ``queries`` is only read for the
                association by queries.
            reuse: maps B frames to mask features (B, D, h, w).
            clip_len: T, the distance of key frames.
            association_feature: "kernel" or "query".
            tracker: associates key frames; None = as the paper does.
            score_shape: (N, K) of the network, if known before its first key frame, to refuse
                states of another one at once.

        Raises:
            ValueError: if ``clip_len`` is below 1 or the feature is unknown.
        """
        if clip_len < 1:
            raise ValueError(f"TEST.TRACKING.CLIP_LEN is {clip_len}, it must be at least 1")
        check_option("TEST.TRACKING.ASSOCIATION_FEATURE", association_feature, ASSOCIATION_FEATURES)
        self._keyframe = keyframe
        self._reuse = reuse
        self.clip_len = clip_len
        self.association_feature = association_feature
        self.tracker = KernelTracker() if tracker is None else tracker
        self._score_shape = score_shape
        self.timings: dict[str, float] = {}
        self.reset()

    def reset(self) -> None:
        """Start a new video."""
        self.tracker.reset()
        self._since_keyframe = 0
        self._kernels: torch.Tensor | None = None
        self._scores: torch.Tensor | None = None

    def state_dict(self) -> dict:
        """The state, of a size that does not depend on the length of the video."""
        return {
            "association_feature": self.association_feature,
            "tracker": self.tracker.state_dict(),
            "since_keyframe": self._since_keyframe,
            "kernels": self._kernels,
            "scores": self._scores,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on where another stepper stopped.

        Args:
            state: what :meth:`state_dict` of a stepper for the same network gave.

        Raises:
            ValueError: if the state is that of another network, feature or way of association.
        """
        if state["association_feature"] != self.association_feature:
            raise ValueError(
                "the state is of TEST.TRACKING.ASSOCIATION_FEATURE "
                f"{state['association_feature']!r}, this predictor has {self.association_feature!r}"
            )
        known = self._score_shape if self._scores is None else self._scores.shape
        if known is not None and state["scores"] is not None:
            _check_network(_sizes(known), _sizes(state["scores"].shape))
        self._restore(state)

    @torch.no_grad()
    def __call__(self, frames: Sequence[Array], *, force_keyframe: bool = False) -> list[SlotFrame]:
        """Predict the next frames of the video, all of one size.

        A call that fails changes nothing: its frames can be given again.

        Args:
            frames: images (3, H, W) in [0, 255].
            force_keyframe: make the first of them a key frame.

        Returns:
            One entry per frame.

        Raises:
            ValueError: if the state that was loaded turns out to be that of another network.
        """
        before = self.state_dict()
        try:
            return self._step(frames, force_keyframe)
        except BaseException:
            self._restore(before)
            raise

    def _step(self, frames: Sequence[Array], force_keyframe: bool) -> list[SlotFrame]:
        start = perf_counter()
        is_key = self._schedule(len(frames), force_keyframe)
        key_frames = [frame for frame, key in zip(frames, is_key, strict=True) if key]
        other_frames = [frame for frame, key in zip(frames, is_key, strict=True) if not key]
        keys = self._keyframe(key_frames) if key_frames else {}
        keys = {name: torch.as_tensor(x) for name, x in keys.items()}
        others = torch.as_tensor(self._reuse(other_frames)) if other_frames else None
        _wait_for(keys.get("mask_features", others))
        seconds = {"network": perf_counter() - start, "association": 0.0}

        results = []
        next_key = next_other = 0
        for key in is_key:
            if key:
                matching = perf_counter()
                self._associate({name: x[next_key] for name, x in keys.items()})
                seconds["association"] += perf_counter() - matching
                features = keys["mask_features"][next_key]
                next_key += 1
            else:
                features = others[next_other]
                next_other += 1
                channels = {"kernel channels": len(features)}
                _check_network(channels, _sizes(self._scores.shape, self._kernels.shape))
            kernels = self._kernels.to(features.device)  # elsewhere after a load
            logits = mask_product(kernels[None], features[None])[0]
            results.append(SlotFrame(key, self._scores, logits))
        seconds["masks"] = perf_counter() - start - sum(seconds.values())
        self.timings = seconds
        return results

    def _associate(self, key: Mapping[str, torch.Tensor]) -> None:
        """Take up the outputs of one key frame, in the order of the slots."""
        if self._scores is not None:
            _check_network(
                _sizes(key["scores"].shape, key["kernels"].shape),
                _sizes(self._scores.shape, self._kernels.shape),
            )
        embeddings = key[ASSOCIATION_FEATURES[self.association_feature]]
        view = self.tracker.keyframe(key["kernels"], key["scores"], embeddings)
        self._kernels, self._scores = view.kernels, view.scores

    def _restore(self, state: dict) -> None:
        self.tracker.load_state_dict(state["tracker"])
        self._since_keyframe = state["since_keyframe"]
        self._kernels = state["kernels"]
        self._scores = state["scores"]

    def _schedule(self, count: int, force_keyframe: bool) -> list[bool]:
        """Which of the next frames are key frames."""
        if force_keyframe:
            self._since_keyframe = 0
        is_key = []
        for _ in range(count):
            is_key.append(self._since_keyframe % self.clip_len == 0)
            self._since_keyframe = (self._since_keyframe + 1) % self.clip_len
        return is_key


def _sizes(scores: Sequence[int], kernels: Sequence[int] | None = None) -> dict[str, int]:
    """What is fixed by the network, from the shapes (N, K) and (N, D)."""
    sizes = {"slots": scores[0], "classes": scores[1]}
    return sizes if kernels is None else {**sizes, "kernel channels": kernels[1]}


def _check_network(network: Mapping[str, int], state: Mapping[str, int]) -> None:
    """Refuse a state that has other sizes than the network, as far as both are known."""
    different = [name for name in state if network.get(name, state[name]) != state[name]]
    if different:
        raise ValueError(
            "the state is of another network: it has "
            + ", ".join(f"{state[name]} {name}" for name in different)
            + ", this network "
            + ", ".join(f"{network[name]} {name}" for name in different)
        )


def _wait_for(tensor: torch.Tensor | None) -> None:
    """Let a GPU finish its work, so that its time is counted where it arises."""
    if tensor is not None and tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
