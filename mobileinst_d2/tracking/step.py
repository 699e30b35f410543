"""The step from frames to slots that whole-video and live prediction share."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch

from ..modeling.options import check_option
from ..modeling.postprocess import mask_product
from .kernel_tracker import KernelTracker

__all__ = ["FrameStepper", "SlotFrame"]

_ASSOCIATION_FEATURES = {"kernel": "kernels", "query": "queries"}

KeyframeFunction = Callable[[Sequence[torch.Tensor]], dict[str, torch.Tensor]]
ReuseFunction = Callable[[Sequence[torch.Tensor]], torch.Tensor]


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
    """

    def __init__(
        self,
        keyframe: KeyframeFunction,
        reuse: ReuseFunction,
        *,
        clip_len: int = 1,
        association_feature: str = "kernel",
        tracker: KernelTracker | None = None,
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

        Raises:
            ValueError: if ``clip_len`` is below 1 or the feature is unknown.
        """
        if clip_len < 1:
            raise ValueError(f"TEST.TRACKING.CLIP_LEN is {clip_len}, it must be at least 1")
        check_option(
            "TEST.TRACKING.ASSOCIATION_FEATURE", association_feature, _ASSOCIATION_FEATURES
        )
        self._keyframe = keyframe
        self._reuse = reuse
        self.clip_len = clip_len
        self._embedding_name = _ASSOCIATION_FEATURES[association_feature]
        self.tracker = KernelTracker() if tracker is None else tracker
        self.reset()

    def reset(self) -> None:
        """Start a new video."""
        self.tracker.reset()
        self._since_keyframe = 0
        self._kernels: torch.Tensor | None = None
        self._scores: torch.Tensor | None = None

    def state_dict(self) -> dict:
        """The state, independent of the length of the video."""
        return {
            "tracker": self.tracker.state_dict(),
            "since_keyframe": self._since_keyframe,
            "kernels": self._kernels,
            "scores": self._scores,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on where another stepper stopped."""
        self.tracker.load_state_dict(state["tracker"])
        self._since_keyframe = state["since_keyframe"]
        self._kernels = state["kernels"]
        self._scores = state["scores"]

    @torch.no_grad()
    def __call__(
        self, frames: Sequence[torch.Tensor], *, force_keyframe: bool = False
    ) -> list[SlotFrame]:
        """Predict the next frames of the video, all of one size.

        Args:
            frames: images (3, H, W) in [0, 255].
            force_keyframe: make the first of them a key frame.

        Returns:
            One entry per frame.
        """
        is_key = self._schedule(len(frames), force_keyframe)
        key_index = [i for i, key in enumerate(is_key) if key]
        other_index = [i for i, key in enumerate(is_key) if not key]
        keys = self._keyframe([frames[i] for i in key_index]) if key_index else {}
        others = self._reuse([frames[i] for i in other_index]) if other_index else None

        results = []
        next_key = next_other = 0
        for key in is_key:
            if key:
                embeddings = keys[self._embedding_name][next_key]
                kernels, scores = keys["kernels"][next_key], keys["scores"][next_key]
                view = self.tracker.keyframe(kernels, scores, embeddings)
                self._kernels, self._scores = view.kernels, view.scores
                features = keys["mask_features"][next_key]
                next_key += 1
            else:
                features = others[next_other]
                next_other += 1
            logits = mask_product(self._kernels[None], features[None])[0]
            results.append(SlotFrame(key, self._scores, logits))
        return results

    def _schedule(self, count: int, force_keyframe: bool) -> list[bool]:
        """Which of the next frames are key frames."""
        if force_keyframe:
            self._since_keyframe = 0
        is_key = []
        for _ in range(count):
            is_key.append(self._since_keyframe % self.clip_len == 0)
            self._since_keyframe = (self._since_keyframe + 1) % self.clip_len
        return is_key
