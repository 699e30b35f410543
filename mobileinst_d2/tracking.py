"""Tracking with models of Detectron2: :mod:`mobileinst_core.tracking` behind config keys."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances
from torch import nn

from mobileinst_core.tracking.association import build_tracker
from mobileinst_core.tracking.keyframes import FramePrediction, VideoNetwork
from mobileinst_core.tracking.offline import OfflineTracker
from mobileinst_core.tracking.online import OnlineTracker

from .modeling.layers import mask_product
from .modeling.postprocessing import build_postprocessing
from .structures import to_array, to_instances
from .utils.resizing import build_frame_preparation

__all__ = ["StreamingPredictor", "VideoPredictor", "video_network"]

logger = logging.getLogger(__name__)


class StreamingPredictor(OnlineTracker):
    """Live tracking with a model: one frame in, its visible instances out."""

    @configurable
    def __init__(self, network: VideoNetwork, **options: Any) -> None:
        """Set up for a first stream. The arguments are those of :class:`OnlineTracker`."""
        super().__init__(network, **options)

    @classmethod
    def from_config(cls, cfg: CfgNode, model: Any) -> dict:
        """Keyword arguments from ``cfg``, for the model that it describes."""
        streaming = cfg.TEST.STREAMING
        return {
            "network": video_network(model),
            "prepare": build_frame_preparation(cfg),
            "clip_len": cfg.TEST.TRACKING.CLIP_LEN,
            "tracker": build_tracker(cfg.TEST.TRACKING.MODE),
            "postprocessing": build_postprocessing(cfg),
            "score_on": streaming.SCORE_ON,
            "score_off": streaming.SCORE_OFF,
            "max_lost": streaming.MAX_LOST,
            "max_instances": streaming.MAX_INSTANCES,
            "scene_cut_threshold": streaming.SCENE_CUT_THRESHOLD,
        }

    def step(self, frame: np.ndarray, **options: Any) -> Instances:
        """Track the next frame, see :meth:`OnlineTracker.step`.

        Args:
            frame: (H, W, 3), uint8, BGR as OpenCV reads it.
            **options: those of :meth:`OnlineTracker.step`.

        Returns:
            The visible instances, best first, as :func:`to_instances` packs them.
        """
        return to_instances(super().step(frame, **options))


class VideoPredictor(OfflineTracker):
    """Predicts whole videos; takes the place of a model in Detectron2's loops.

    Where a GPU has no memory for a chunk of frames, it is halved.
    """

    @configurable
    def __init__(self, network: VideoNetwork, **options: Any) -> None:
        """Set up. The arguments are those of :class:`OfflineTracker`."""
        super().__init__(network, **options)

    @classmethod
    def from_config(cls, cfg: CfgNode, model: Any) -> dict:
        """Keyword arguments from ``cfg``, for the model that it describes."""
        tracking = cfg.TEST.TRACKING
        return {
            "network": video_network(model),
            "clip_len": tracking.CLIP_LEN,
            "tracker": build_tracker(cfg.TEST.TRACKING.MODE),
            "postprocessing": build_postprocessing(cfg),
            "labels_per_track": tracking.LABELS_PER_TRACK,
        }

    def __call__(self, batched_inputs: list[dict]) -> list[dict]:
        """Predict videos in the form of the evaluation loaders.

        Args:
            batched_inputs: per video ``image`` (its frames), ``height``, ``width`` of the original
                frames and ``video_id``.

        Returns:
            The result of :meth:`predict` per video, with its ``video_id``.

        Raises:
            torch.cuda.OutOfMemoryError: if a GPU has no memory for a single frame.
        """
        results = []
        for video in batched_inputs:
            result = self.predict(video["image"], (video["height"], video["width"]))
            results.append({"video_id": video["video_id"], **result})
        return results

    def _run(self, frames: Sequence[Any]) -> list[FramePrediction] | None:
        try:
            return super()._run(frames)
        except torch.cuda.OutOfMemoryError:
            if len(frames) == 1:
                raise
        # Here nothing holds on to what was computed.
        torch.cuda.empty_cache()
        logger.warning(
            "The GPU has no memory for more frames at once: %d from now on in this video.",
            len(frames) // 2,
        )
        return None


def video_network(model: Any) -> VideoNetwork:
    """A model as tracking sees it.

    Args:
        model: in PyTorch, or one that takes and gives arrays; with ``keyframe``, ``reuse``,
            ``mask_stride`` and ``mask_upsampling``. Or a network, which stays what it is.

    Returns:
        The network. Mask features of PyTorch stay on their device, where the mask product is
        taken.
    """
    if isinstance(model, VideoNetwork):
        return model
    scale = {"mask_stride": model.mask_stride, "mask_upsampling": model.mask_upsampling}
    if not isinstance(model, nn.Module):
        return VideoNetwork(model.keyframe, model.reuse, **scale)

    @torch.no_grad()
    def keyframe(frames: Sequence[Any]) -> dict[str, Any]:
        outputs = model.keyframe([torch.as_tensor(frame) for frame in frames])
        arrays = {name: to_array(outputs[name]) for name in ("kernels", "scores")}
        return {**arrays, "mask_features": _finished(outputs["mask_features"])}

    @torch.no_grad()
    def reuse(frames: Sequence[Any]) -> torch.Tensor:
        return _finished(model.reuse([torch.as_tensor(frame) for frame in frames]))

    return VideoNetwork(keyframe, reuse, mask_product=_mask_product, **scale)


def _mask_product(kernels: np.ndarray, mask_features: torch.Tensor) -> np.ndarray:
    tensor = torch.from_numpy(kernels).to(mask_features)
    return to_array(mask_product(tensor[None], mask_features[None])[0])


def _finished(tensor: torch.Tensor) -> torch.Tensor:
    """Let a GPU finish its work, so that its time is counted where it arises."""
    if tensor.is_cuda:
        torch.cuda.synchronize(tensor.device)
    return tensor
