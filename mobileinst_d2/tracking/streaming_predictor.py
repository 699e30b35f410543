"""Live tracking: one frame in, its visible instances out."""

from collections.abc import Callable

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import transforms as T
from detectron2.data.detection_utils import build_augmentation
from detectron2.structures import Instances

from ..modeling.postprocess import maskness, paste_masks, to_instances, upsample_mask_logits
from .kernel_tracker import KernelTracker
from .step import FrameStepper, KeyframeFunction, ReuseFunction, SlotFrame

__all__ = ["StreamingPredictor"]


class _FramePreparation:
    """The evaluation transforms, on frames as OpenCV reads them."""

    def __init__(self, augmentations: list[T.Augmentation], image_format: str) -> None:
        self.augmentations = T.AugmentationList(augmentations)
        self.flip_channels = image_format == "RGB"

    def __call__(self, frame: np.ndarray) -> torch.Tensor:
        augmented = T.AugInput(frame[:, :, ::-1] if self.flip_channels else frame)
        self.augmentations(augmented)
        return torch.from_numpy(np.ascontiguousarray(augmented.image.transpose(2, 0, 1)))


class StreamingPredictor:
    """Tracks instances through a stream, causally and in constant memory.

    The step from frames to slots is that of :class:`VideoPredictor`; on top of it slots become
    visible and hidden with hysteresis, and get identities that are never used again.

    Attributes:
        slot_frame: the slots of the last frame, for a :class:`TrackCollector`; None at the start.
        image_size: (H, W) of the network's image of the last frame, without padding.
    """

    @configurable
    def __init__(
        self,
        *,
        keyframe: KeyframeFunction,
        reuse: ReuseFunction,
        prepare: Callable[[np.ndarray], torch.Tensor],
        clip_len: int = 1,
        association_feature: str = "kernel",
        tracker: KernelTracker | None = None,
        mask_threshold: float = 0.45,
        mask_rescore: bool = True,
        score_on: float = 0.4,
        score_off: float = 0.2,
        max_lost: int = 30,
        max_instances: int = 20,
        smoothing: float = 0.8,
        class_margin: float = 0.1,
    ) -> None:
        """Set up for a first stream.

        Args:
            keyframe: see :class:`FrameStepper`.
            reuse: see :class:`FrameStepper`.
            prepare: maps a frame (H, W, 3) to the network's image (3, h, w), in [0, 255].
            clip_len: T, the distance of key frames.
            association_feature: "kernel" or "query".
            tracker: see :class:`FrameStepper`.
            mask_threshold: mask probability above which a pixel belongs to the instance.
            mask_rescore: multiply scores by the maskness.
            score_on: a slot becomes visible when its smoothed score reaches this.
            score_off: and hidden when it falls below this.
            max_lost: a slot hidden for more key frames than this comes back as a new identity.
            max_instances: instances per frame at most, best first.
            smoothing: weight of the past in the moving average of the scores, in [0, 1).
            class_margin: the shown class changes when another one leads by this.

        Raises:
            ValueError: if ``score_off`` exceeds ``score_on`` or ``smoothing`` is out of range.
        """
        if not 0 <= score_off <= score_on <= 1:
            raise ValueError(
                f"TEST.STREAMING: SCORE_OFF {score_off} and SCORE_ON {score_on} must satisfy "
                "0 <= SCORE_OFF <= SCORE_ON <= 1"
            )
        if not 0 <= smoothing < 1:
            raise ValueError(f"TEST.STREAMING.SMOOTHING is {smoothing}, it must be in [0, 1)")
        self.stepper = FrameStepper(
            keyframe,
            reuse,
            clip_len=clip_len,
            association_feature=association_feature,
            tracker=tracker,
        )
        self.prepare = prepare
        self.mask_threshold = mask_threshold
        self.mask_rescore = mask_rescore
        self.score_on = score_on
        self.score_off = score_off
        self.max_lost = max_lost
        self.max_instances = max_instances
        self.smoothing = smoothing
        self.class_margin = class_margin
        self.reset()

    @classmethod
    def from_config(cls, cfg: CfgNode, model: object) -> dict:
        """Keyword arguments from ``cfg.TEST`` and a model with ``keyframe`` and ``reuse``."""
        tracking, streaming = cfg.TEST.TRACKING, cfg.TEST.STREAMING
        augmentations = build_augmentation(cfg, is_train=False)
        return {
            "keyframe": model.keyframe,
            "reuse": model.reuse,
            "prepare": _FramePreparation(augmentations, cfg.INPUT.FORMAT),
            "clip_len": tracking.CLIP_LEN,
            "association_feature": tracking.ASSOCIATION_FEATURE,
            "tracker": KernelTracker(cfg),
            "mask_threshold": cfg.TEST.MASK_THRESHOLD,
            "mask_rescore": cfg.TEST.MASK_RESCORE,
            "score_on": streaming.SCORE_ON,
            "score_off": streaming.SCORE_OFF,
            "max_lost": streaming.MAX_LOST,
            "max_instances": streaming.MAX_INSTANCES,
            "smoothing": streaming.SMOOTHING,
            "class_margin": streaming.CLASS_MARGIN,
        }

    def reset(self) -> None:
        """Start a new stream. Identities start at 1 again."""
        self.stepper.reset()
        self.slot_frame: SlotFrame | None = None
        self.image_size: tuple[int, int] | None = None
        self._next_id = 1
        self._scores: torch.Tensor | None = None  # slots, classes: smoothed
        self._classes: torch.Tensor | None = None  # slots: shown class
        self._visible: torch.Tensor | None = None  # slots: bool
        self._ids: torch.Tensor | None = None  # slots: identity, 0 = none yet
        self._periods: torch.Tensor | None = None  # slots: frames shown under the identity
        self._hidden: torch.Tensor | None = None  # slots: key frames since last visible

    def step(self, frame: np.ndarray, *, force_keyframe: bool = False) -> Instances:
        """Track the next frame.

        Args:
            frame: (H, W, 3), uint8, BGR as OpenCV reads it.
            force_keyframe: run the full network, whatever the schedule says.

        Returns:
            The visible instances, best first: ``pred_masks`` (n, H, W) bool, ``pred_boxes``,
            ``scores``, ``pred_classes``, and lists ``ID`` (from 1, never used again), ``ID_period``
            (frames in which the identity was shown) and ``lost_frame_count`` (0: only what is
            visible is returned).

        Raises:
            ValueError: if the frame is not an (H, W, 3) uint8 array, for instance None, which is
                what OpenCV reads at the end of a video.
        """
        _check_frame(frame)
        image = self.prepare(frame)
        result = self.stepper([image], force_keyframe=force_keyframe)[0]
        self.slot_frame, self.image_size = result, tuple(image.shape[-2:])
        logits = upsample_mask_logits(result.mask_logits[None])[0]
        if result.is_keyframe:
            self._update_slots(result, logits)
        slots = self._visible.nonzero()[:, 0]
        best = self._scores[slots, self._classes[slots]]
        slots = slots[best.argsort(descending=True, stable=True)][: self.max_instances]
        masks = paste_masks(
            logits[slots.to(logits.device)],
            self.image_size,
            frame.shape[:2],
            self.mask_threshold,
        ).cpu()
        shown = masks.flatten(1).any(1)
        slots, masks = slots[shown], masks[shown]
        self._periods[slots] += 1
        classes = self._classes[slots]
        return to_instances(
            masks,
            classes,
            self._scores[slots, classes],
            ID=self._ids[slots].tolist(),
            ID_period=self._periods[slots].tolist(),
            lost_frame_count=[0] * len(slots),
        )

    def _update_slots(self, frame: SlotFrame, mask_logits: torch.Tensor) -> None:
        """Smooth the scores of a key frame; decide on classes, visibility and identities."""
        scores = frame.scores
        if self.mask_rescore:
            scores = scores * maskness(mask_logits.sigmoid(), self.mask_threshold)[:, None]
        # One NaN would stay in the moving average for ever.
        scores = scores.float().cpu().nan_to_num(0.0)
        if self._scores is None:
            count = len(scores)
            self._scores = scores
            self._classes = scores.argmax(dim=1)
            self._visible = torch.zeros(count, dtype=torch.bool)
            self._ids = torch.zeros(count, dtype=torch.int64)
            self._periods = torch.zeros(count, dtype=torch.int64)
            self._hidden = torch.zeros(count, dtype=torch.int64)
        else:
            self._scores = self.smoothing * self._scores + (1 - self.smoothing) * scores
            leader = self._scores.max(dim=1)
            shown = self._scores.gather(1, self._classes[:, None])[:, 0]
            # A hidden slot has nothing on the screen that could flicker.
            switch = ~self._visible | (leader.values >= shown + self.class_margin)
            self._classes = torch.where(switch, leader.indices, self._classes)
        best = self._scores.gather(1, self._classes[:, None])[:, 0]
        self._visible = torch.where(self._visible, best >= self.score_off, best >= self.score_on)
        fresh = self._visible & ((self._ids == 0) | (self._hidden > self.max_lost))
        newcomers = fresh.nonzero()[:, 0]
        for slot in newcomers[best[newcomers].argsort(descending=True, stable=True)].tolist():
            self._ids[slot] = self._next_id
            self._periods[slot] = 0
            self._next_id += 1
        self._hidden = torch.where(self._visible, 0, self._hidden + 1)


def _check_frame(frame: np.ndarray) -> None:
    if not isinstance(frame, np.ndarray):
        found = type(frame).__name__
    elif frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0 or frame.dtype != np.uint8:
        found = f"{frame.shape} {frame.dtype}"
    else:
        return
    raise ValueError(f"a frame is an (H, W, 3) uint8 array, got {found}")
