"""The step from frames to tracks that whole videos and live tracking share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any, NamedTuple

import numpy as np

from mobileinst_core.errors import ConfigError
from mobileinst_core.masks.box_masks import BoxMasks
from mobileinst_core.postprocessing import PostProcessing, mask_product

from .association import PreviousKeyframe, Tracker

__all__ = ["FramePrediction", "KeyframeRunner", "VideoNetwork"]


class VideoNetwork(NamedTuple):
    """A network as tracking sees it.

    Frames are handed to it as they come, images (3, H, W) in [0, 255].

    Attributes:
        keyframe: maps B frames to ``kernels`` (B, N, D) and ``scores`` (B, N, K) in [0, 1], both
            float32 arrays, and ``mask_features``, of which item b is that of frame b.
        reuse: maps B frames to mask features, of which item b is that of frame b.
        mask_stride: pixels of the padded input per pixel of the mask logits.
        mask_upsampling: factor by which the logits are resized before the sigmoid.
        mask_product: maps kernels (N, D) and the mask features of a frame to mask logits (N, h, w),
            a float32 array. Nothing else reads mask features, so they may stay on a GPU.
    """

    keyframe: Callable[[Sequence[Any]], Mapping[str, Any]]
    reuse: Callable[[Sequence[Any]], Sequence[Any]]
    mask_stride: int
    mask_upsampling: int = 1
    mask_product: Callable[[np.ndarray, Any], np.ndarray] = mask_product

    def masks(self, mask_logits: np.ndarray, postprocessing: PostProcessing) -> BoxMasks:
        """The masks of logits (N, h, w) of this network."""
        return postprocessing.masks(
            mask_logits, stride=self.mask_stride, upsampling=self.mask_upsampling
        )


@dataclass(frozen=True, eq=False)
class FramePrediction:
    """One frame in the order of the tracks. Mask logits are made when they are asked for.

    Attributes:
        is_keyframe: the kernels are this frame's own.
        scores: (N, K), of the last key frame, in [0, 1].
        kernels: (N, D), likewise.
        mask_features: of this frame.
        network: predicted it.
    """

    is_keyframe: bool
    scores: np.ndarray
    kernels: np.ndarray
    mask_features: Any
    network: VideoNetwork

    @cached_property
    def mask_logits(self) -> np.ndarray:
        """(N, h, w), of the padded input."""
        return self.network.mask_product(self.kernels, self.mask_features)

    def masks(
        self, postprocessing: PostProcessing, tracks: np.ndarray | slice = slice(None)
    ) -> BoxMasks:
        """The masks of all tracks, or of some only, (n,) numbers or (N,) booleans."""
        if "mask_logits" in vars(self) or isinstance(tracks, slice):
            logits = self.mask_logits[tracks]
        else:
            logits = self.network.mask_product(self.kernels[tracks], self.mask_features)
        return self.network.masks(logits, postprocessing)


class KeyframeRunner:
    """Runs a network on frames in order: key frames in full, the others with reused kernels.

    Paper, section 3.5, eq. 1: kernels and scores of a key frame serve the next T - 1 frames.

    Attributes:
        timings: seconds of the last call in "network", "association" and "masks".
    """

    def __init__(
        self, network: VideoNetwork, *, clip_len: int = 1, tracker: Tracker | None = None
    ) -> None:
        """Set up for a first video.

        Args:
            network: predicts frames.
            clip_len: T, the distance of key frames.
            tracker: associates key frames; None = as the paper does.

        Raises:
            ConfigError: if ``clip_len`` is below 1.
        """
        if clip_len < 1:
            raise ConfigError(f"clip_len is {clip_len}, it must be at least 1")
        self.network = network
        self.clip_len = clip_len
        self.tracker = PreviousKeyframe() if tracker is None else tracker
        self.timings: dict[str, float] = {}
        self.reset()

    def reset(self) -> None:
        """Start a new video."""
        self.tracker.reset()
        self._since_keyframe = 0
        self._kernels: np.ndarray | None = None
        self._scores: np.ndarray | None = None

    def state_dict(self) -> dict[str, np.ndarray | int]:
        """The state, of a size that does not depend on the length of the video."""
        state = {f"tracker.{name}": x for name, x in self.tracker.state_dict().items()}
        if self._kernels is not None:
            state |= {"kernels": self._kernels, "scores": self._scores}
        return state | {"since_keyframe": self._since_keyframe}

    def load_state_dict(self, state: Mapping[str, np.ndarray | int]) -> None:
        """Resume where another runner stopped.

        Args:
            state: what :meth:`state_dict` of a runner with the same network and kind of tracker
                gave.

        Raises:
            ValueError: if it is of another kind of tracker, or in the middle of a clip without its
                kernels; nothing has changed then.
        """
        prefix = "tracker."
        if int(state["since_keyframe"]) and not {"kernels", "scores"} <= state.keys():
            raise ValueError("this is no state of a stream: it lacks the kernels of its key frame")
        self.tracker.load_state_dict(
            {k.removeprefix(prefix): x for k, x in state.items() if k.startswith(prefix)}
        )
        self._since_keyframe = int(state["since_keyframe"])
        self._kernels, self._scores = state.get("kernels"), state.get("scores")

    def __call__(
        self, frames: Sequence[Any], *, force_keyframe: bool = False
    ) -> list[FramePrediction]:
        """Predict the next frames of the video, all of one size.

        A call that fails changes nothing: its frames can be given again.

        Args:
            frames: images (3, H, W) in [0, 255].
            force_keyframe: make the first of them a key frame.

        Returns:
            One entry per frame.

        Raises:
            ValueError: if a key frame has not as many queries, channels and classes as the last, or
                the tracker gives no permutation of its queries.
        """
        before = self.state_dict()
        try:
            return self._step(frames, force_keyframe)
        except BaseException:
            self.load_state_dict(before)
            raise

    def _step(self, frames: Sequence[Any], force_keyframe: bool) -> list[FramePrediction]:
        start = perf_counter()
        is_key = self._schedule(len(frames), force_keyframe)
        key_frames = [frame for frame, key in zip(frames, is_key, strict=True) if key]
        other_frames = [frame for frame, key in zip(frames, is_key, strict=True) if not key]
        keys = self.network.keyframe(key_frames) if key_frames else {}
        others = self.network.reuse(other_frames) if other_frames else ()
        seconds = {"network": perf_counter() - start, "association": 0.0}

        results = []
        next_key = next_other = 0
        for key in is_key:
            if key:
                matching = perf_counter()
                self._associate(keys["kernels"][next_key], keys["scores"][next_key])
                seconds["association"] += perf_counter() - matching
                features = keys["mask_features"][next_key]
                next_key += 1
            else:
                features = others[next_other]
                next_other += 1
            results.append(
                FramePrediction(key, self._scores, self._kernels, features, self.network)
            )
        seconds["masks"] = perf_counter() - start - sum(seconds.values())
        self.timings = seconds
        return results

    def _associate(self, kernels: np.ndarray, scores: np.ndarray) -> None:
        """Take up the outputs of one key frame, in the order of the tracks."""
        for now, before in ((kernels, self._kernels), (scores, self._scores)):
            if before is not None and now.shape != before.shape:
                raise ValueError(
                    f"the key frame has outputs {now.shape}, the one before had {before.shape}: it "
                    "is of another network, as a loaded state may be; reset() starts a new video"
                )
        order = self.tracker.associate(kernels, scores)
        if not np.array_equal(np.sort(order), np.arange(len(kernels))):
            raise ValueError(
                f"associate() of {type(self.tracker).__name__} gave {order}: it must give each of "
                f"the {len(kernels)} queries once, as every track has one"
            )
        self._kernels, self._scores = kernels[order], scores[order]

    def _schedule(self, count: int, force_keyframe: bool) -> list[bool]:
        """Which of the next frames are key frames."""
        if force_keyframe:
            self._since_keyframe = 0
        is_key = []
        for _ in range(count):
            is_key.append(self._since_keyframe % self.clip_len == 0)
            self._since_keyframe = (self._since_keyframe + 1) % self.clip_len
        return is_key
