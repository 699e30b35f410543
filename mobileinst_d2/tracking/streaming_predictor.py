"""Live tracking: one frame in, its visible instances out."""

from collections.abc import Callable
from time import perf_counter

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances

from ..modeling.options import check_option
from ..modeling.postprocess import MASK_PASTES, MaskSource, PastedMasks, read_masks, to_instances
from .kernel_tracker import KernelTracker
from .lifecycle import SlotLifecycle
from .preparation import FramePreparation
from .step import Array, FrameStepper, KeyframeFunction, ReuseFunction, SlotFrame

__all__ = ["StreamingPredictor"]

_THUMBNAIL_SIZE = (18, 32)


class StreamingPredictor:
    """Tracks instances through a stream, causally and in constant memory.

    The step from frames to slots is that of :class:`VideoPredictor`; on top of it slots become
    visible and hidden with hysteresis, and get identities that are never used again.

    Attributes:
        is_keyframe: the last frame went through the full network.
        frame_index: number of the last frame, from 0; -1 at the start.
        timings: seconds of the last step: "prepare", "network", "association" and "masks".
        slot_frame: the slots of the last frame, for a :class:`TrackCollector`; None at the start.
        image_size: (H, W) of the network's image of the last frame, without padding.
    """

    @configurable
    def __init__(
        self,
        *,
        keyframe: KeyframeFunction,
        reuse: ReuseFunction,
        prepare: Callable[[np.ndarray], Array],
        clip_len: int = 1,
        association_feature: str = "kernel",
        tracker: KernelTracker | None = None,
        score_shape: tuple[int, int] | None = None,
        mask_threshold: float = 0.45,
        mask_rescore: bool = True,
        score_on: float = 0.4,
        score_off: float = 0.2,
        max_lost: int = 30,
        max_instances: int = 20,
        smoothing: float = 0.8,
        class_margin: float = 0.1,
        scene_cut_threshold: float = 0.0,
        mask_paste: str = "box",
    ) -> None:
        """Set up for a first stream.

        Args:
            keyframe: see :class:`FrameStepper`; it is given one frame at a time.
            reuse: see :class:`FrameStepper`; likewise.
            prepare: maps a frame (H, W, 3) to the network's image (3, h, w), in [0, 255].
            clip_len: T, the distance of key frames.
            association_feature: "kernel" or "query".
            tracker: see :class:`FrameStepper`.
            score_shape: see :class:`FrameStepper`.
            mask_threshold: mask probability above which a pixel belongs to the instance.
            mask_rescore: multiply scores by the maskness.
            score_on: a slot becomes visible when its smoothed score reaches this.
            score_off: and hidden when it falls below this.
            max_lost: a slot hidden for more key frames than this comes back as a new identity.
            max_instances: instances per frame at most, best first.
            smoothing: weight of the past in the moving average of the scores, in [0, 1).
            class_margin: the shown class changes when another one leads by this.
            scene_cut_threshold: a frame becomes a key frame when its grey thumbnail of 32x18
                pixels differs from that of the frame before by more than this on average, in grey
                levels of 255; 0 = never.
            mask_paste: "box" or "published", see :func:`read_masks`.

        Raises:
            ValueError: if an option is out of range.
        """
        check_option("TEST.MASK_PASTE", mask_paste, MASK_PASTES)
        if scene_cut_threshold < 0:
            raise ValueError(
                f"TEST.STREAMING.SCENE_CUT_THRESHOLD is {scene_cut_threshold}, it must be at "
                "least 0"
            )
        self.stepper = FrameStepper(
            keyframe,
            reuse,
            clip_len=clip_len,
            association_feature=association_feature,
            tracker=tracker,
            score_shape=score_shape,
        )
        self.lifecycle = SlotLifecycle(
            score_on=score_on,
            score_off=score_off,
            max_lost=max_lost,
            smoothing=smoothing,
            class_margin=class_margin,
        )
        self.prepare = prepare
        self.mask_threshold = mask_threshold
        self.mask_rescore = mask_rescore
        self.max_instances = max_instances
        self.scene_cut_threshold = scene_cut_threshold
        self.mask_paste = mask_paste
        self.reset()

    @classmethod
    def from_config(cls, cfg: CfgNode, model: object) -> dict:
        """Keyword arguments from ``cfg`` and a model with ``keyframe`` and ``reuse``."""
        tracking, streaming = cfg.TEST.TRACKING, cfg.TEST.STREAMING
        return {
            "keyframe": model.keyframe,
            "reuse": model.reuse,
            "prepare": FramePreparation(cfg),
            "clip_len": tracking.CLIP_LEN,
            "association_feature": tracking.ASSOCIATION_FEATURE,
            "tracker": KernelTracker(cfg),
            "score_shape": (cfg.MODEL.INSTANCE_DECODER.NUM_QUERIES, cfg.MODEL.NUM_CLASSES),
            "mask_threshold": cfg.TEST.MASK_THRESHOLD,
            "mask_rescore": cfg.TEST.MASK_RESCORE,
            "score_on": streaming.SCORE_ON,
            "score_off": streaming.SCORE_OFF,
            "max_lost": streaming.MAX_LOST,
            "max_instances": streaming.MAX_INSTANCES,
            "smoothing": streaming.SMOOTHING,
            "class_margin": streaming.CLASS_MARGIN,
            "scene_cut_threshold": streaming.SCENE_CUT_THRESHOLD,
            "mask_paste": cfg.TEST.MASK_PASTE,
        }

    def reset(self) -> None:
        """Start a new stream. Identities start at 1 again."""
        self.stepper.reset()
        self.lifecycle.reset()
        self.frame_index = -1
        self._thumbnail: torch.Tensor | None = None  # of the last frame, if scene cuts are sought
        self._forget_last_step()

    def step(self, frame: np.ndarray, *, force_keyframe: bool = False) -> Instances:
        """Track the next frame.

        A step that fails before the masks are made, for instance in the network, changes nothing:
        the stream goes on with the next frame.

        Args:
            frame: (H, W, 3), uint8, BGR as OpenCV reads it. The size may change in mid-stream.
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
        start = perf_counter()
        image = self.prepare(frame)
        thumbnail = _thumbnail(image) if self.scene_cut_threshold else None
        force_keyframe = force_keyframe or self._is_scene_cut(thumbnail)
        prepared = perf_counter()
        result = self.stepper([image], force_keyframe=force_keyframe)[0]
        stepped = perf_counter()
        self._thumbnail = thumbnail
        self.frame_index += 1
        self.slot_frame, self.image_size = result, tuple(image.shape[-2:])
        instances = self._show(result, frame.shape[:2])
        self.timings = {"prepare": prepared - start, **self.stepper.timings}
        self.timings["masks"] += perf_counter() - stepped
        return instances

    @property
    def is_keyframe(self) -> bool:
        """Whether the last frame went through the full network."""
        return self.slot_frame is not None and self.slot_frame.is_keyframe

    def ids_alive(self) -> list[int]:
        """Identities that are visible or can become so again, in ascending order."""
        return self.lifecycle.ids_alive()

    def state_dict(self) -> dict:
        """All that the next frames depend on, of a size independent of the stream's length.

        It holds tensors, numbers and texts only, for ``torch.save`` and ``torch.load``.
        """
        return {
            "stepper": self.stepper.state_dict(),
            "lifecycle": self.lifecycle.state_dict(),
            "frame_index": self.frame_index,
            "thumbnail": self._thumbnail,
        }

    def load_state_dict(self, state: dict) -> None:
        """Go on where another stream stopped, with the same network and association.

        Args:
            state: what :meth:`state_dict` gave.

        Raises:
            ValueError: if the state is not that of a stream, or of another network or association.
        """
        if missing := self.state_dict().keys() - state.keys():
            raise ValueError(
                f"this is no state of a StreamingPredictor: it lacks {', '.join(sorted(missing))}"
            )
        self.stepper.load_state_dict(state["stepper"])
        self.lifecycle.load_state_dict(state["lifecycle"])
        self.frame_index = state["frame_index"]
        self._thumbnail = state["thumbnail"]
        self._forget_last_step()

    def _forget_last_step(self) -> None:
        self.slot_frame: SlotFrame | None = None
        self.image_size: tuple[int, int] | None = None
        self.timings: dict[str, float] = {}

    def _is_scene_cut(self, thumbnail: torch.Tensor | None) -> bool:
        if thumbnail is None or self._thumbnail is None:
            return False
        return bool((thumbnail - self._thumbnail).abs().mean() > self.scene_cut_threshold)

    def _read(self, mask_logits: torch.Tensor) -> MaskSource:
        return read_masks(mask_logits, self.mask_threshold, self.mask_paste)

    def _show(self, frame: SlotFrame, output_size: tuple[int, int]) -> Instances:
        """The visible instances of a frame, with masks of its size (H, W)."""
        masks = None
        if frame.is_keyframe:
            scores = frame.scores
            if self.mask_rescore:
                # Maskness only lowers scores. Slots that stay hidden anyway go without.
                candidates = self.lifecycle.candidates(scores)
                masks = self._read(frame.mask_logits[candidates.to(frame.mask_logits.device)])
                quality = torch.ones(len(scores), device=scores.device)
                quality[candidates.to(scores.device)] = masks.quality().to(quality)
                scores = scores * quality[:, None]
            self.lifecycle.update(scores)
        slots = self.lifecycle.visible(self.max_instances)
        if masks is None:
            candidates = slots.sort().values
            masks = self._read(frame.mask_logits[candidates.to(frame.mask_logits.device)])
        numbers = torch.searchsorted(candidates, slots)
        pasted = masks.paste(numbers, self.image_size, output_size)
        pasted = PastedMasks(*(x.cpu() for x in pasted))
        tracks = self.lifecycle.show(slots[pasted.shown])
        return to_instances(
            pasted,
            tracks["classes"],
            tracks["scores"],
            ID=tracks["ids"].tolist(),
            ID_period=tracks["periods"].tolist(),
            lost_frame_count=[0] * len(tracks["ids"]),
        )


def _thumbnail(image: Array) -> torch.Tensor:
    """The grey levels of an image (3, h, w), averaged into a few pixels."""
    grey = torch.as_tensor(image).float().mean(dim=0, keepdim=True)
    return F.adaptive_avg_pool2d(grey, _THUMBNAIL_SIZE)[0].cpu()


def _check_frame(frame: np.ndarray) -> None:
    if not isinstance(frame, np.ndarray):
        found = type(frame).__name__
    elif frame.ndim != 3 or frame.shape[2] != 3 or frame.size == 0 or frame.dtype != np.uint8:
        found = f"{frame.shape} {frame.dtype}"
    else:
        return
    raise ValueError(f"a frame is an (H, W, 3) uint8 array, got {found}")
