"""What this project asks of a meta-architecture: the base classes of its own and of users'."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.structures import ImageList, Instances
from torch import nn

from mobileinst_core.postprocessing import PostProcessing
from mobileinst_d2.structures import check_images, is_clip, pad_images, per_frame

from ..deploy import ExportGraph, build_export_graphs
from ..layers import bilinear_resize, mask_product
from ..postprocessing import build_postprocessing, predict_instances
from ..targets import FrameTargets, check_ground_truth, prepare_targets, visible

__all__ = ["InstanceSegmentor", "VideoSegmentor", "instance_scores"]

Outputs = dict[str, torch.Tensor]
Size = tuple[int, int]


class InstanceSegmentor(nn.Module, ABC):
    """A network that predicts instances with masks, as Detectron2's ``DenseDetector`` does boxes.

    A system gives its network in evaluation, :meth:`forward_inference`, and its losses,
    :meth:`forward_training`. Detectron2's contract, the preparation of images, post-processing and
    export are here. Trainer, evaluation, benchmarks and export take any subclass.

    Attributes:
        mask_stride: input pixels per pixel of the mask logits.
        mask_upsampling: factor by which mask logits are upsampled bilinearly before they become
            probabilities, in training and in evaluation.
        size_divisibility: divides the sides of every batch.
        postprocessing: thresholds of the results.
        fixed_size: (H, W) of every batch in evaluation; None = as small as can be.
        stretches_images: images are stretched to the network's input, whatever their shape, and
            that is done here: the preparation leaves them as they are.
        predicts_boxes: boxes are predictions of their own, and not the bounds of the masks.
        encodes_masks: give ``pred_rles``, a list of RLEs, in place of ``pred_masks``; a system with
            an :meth:`inference` of its own may give masks all the same.
    """

    stretches_images = False
    predicts_boxes = False
    encodes_masks = False

    def __init__(
        self,
        *,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        mask_stride: int,
        size_divisibility: int,
        mask_upsampling: int = 1,
        postprocessing: PostProcessing | None = None,
        fixed_size: Size | None = None,
        num_classes: int | None = None,
    ) -> None:
        """Set up what all systems share.

        Args:
            pixel_mean: per channel mean, in the range of the pixels (0 to 255).
            pixel_std: per channel standard deviation.
            mask_stride: see the class.
            size_divisibility: see the class.
            mask_upsampling: see the class.
            postprocessing: see the class; None = the default thresholds.
            fixed_size: see the class.
            num_classes: what labels in training are checked against; None = they are not.

        Raises:
            ValueError: if a side of ``fixed_size`` is no multiple of ``size_divisibility``, or mean
                and deviation do not fit each other.
        """
        super().__init__()
        if len(pixel_mean) != len(pixel_std) or min(pixel_std, default=0) <= 0:
            raise ValueError(
                f"pixel_mean is {list(pixel_mean)} and pixel_std {list(pixel_std)}: give both a "
                "number for each channel, pixel_std above 0"
            )
        if fixed_size and any(side % size_divisibility for side in fixed_size):
            raise ValueError(
                f"fixed_size is {fixed_size}: both sides must be multiples of {size_divisibility}"
            )
        self.mask_stride = mask_stride
        self.mask_upsampling = mask_upsampling
        self.size_divisibility = size_divisibility
        self.postprocessing = PostProcessing() if postprocessing is None else postprocessing
        self.fixed_size = fixed_size
        self._num_classes = num_classes
        mean = torch.tensor(pixel_mean, dtype=torch.float32).view(-1, 1, 1)
        std = torch.tensor(pixel_std, dtype=torch.float32).view(-1, 1, 1)
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_std", std, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from the keys that all systems share; subclasses add their own."""
        return {
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "postprocessing": build_postprocessing(cfg),
            "fixed_size": tuple(cfg.INPUT.FIXED_SIZE_TEST) or None,
            "num_classes": cfg.MODEL.NUM_CLASSES,
        }

    @abstractmethod
    def forward_inference(self, images: torch.Tensor) -> Outputs:
        """Run the network in evaluation.

        Args:
            images: (B, 3, H, W), normalised; both sides multiples of ``size_divisibility``.

        Returns:
            ``scores`` (B, N, K) in [0, 1] of N queries for K classes and ``mask_logits``
            (B, N, H / mask_stride, W / mask_stride), rounded up. A system with an
            :meth:`inference` of its own may give other outputs.
        """

    @abstractmethod
    def forward_training(
        self, images: ImageList, batched_inputs: list[dict]
    ) -> dict[str, torch.Tensor]:
        """Compute the weighted scalar losses.

        Args:
            images: the batch, from :meth:`preprocess_image`.
            batched_inputs: see :meth:`forward`.
        """

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict]) -> dict[str, torch.Tensor] | list[dict]:
        """Detectron2's contract.

        Args:
            batched_inputs: per image ``image`` (3, H, W) in [0, 255]; ``height``, ``width`` of the
                original image (optional, evaluation); ``instances`` with ``gt_classes`` and
                ``gt_masks`` (training). For training on clips ``image`` and ``instances`` are
                lists over the frames, with aligned rows and ``gt_ids`` (-1 = not visible).

        Returns:
            In training a dict of weighted scalar losses. In evaluation one
            ``{"instances": Instances}`` per image, with masks of the original size; of no images
            an empty list.

        Raises:
            ValueError: if a video is given in evaluation, an image is no tensor (3, H, W) or larger
                than the fixed size, there is nothing to train on, or the ground truth does not
                belong to the images or to the network's classes.
        """
        if not batched_inputs and not self.training:
            return []
        if self.training:
            images = self.preprocess_image(batched_inputs)
            check_ground_truth(batched_inputs, self._num_classes)
            return self.forward_training(images, batched_inputs)
        for item in batched_inputs:
            if is_clip(item):
                raise ValueError(
                    f"video {item.get('video_id')!r}: the model predicts single images; use "
                    "mobileinst_d2.tracking.VideoPredictor for videos"
                )
        images = self.preprocess_image(batched_inputs)
        sizes = [
            (size, _original_size(item))
            for item, size in zip(batched_inputs, images.image_sizes, strict=True)
        ]
        instances = self.inference(self.forward_inference(images.tensor), sizes)
        return [{"instances": x} for x in instances]

    def preprocess_image(self, batched_inputs: list[dict]) -> ImageList:
        """Normalise the images, frames of clips in order, and pad them to one size.

        Args:
            batched_inputs: see :meth:`forward`.

        Returns:
            A batch whose sides are multiples of ``size_divisibility``; in evaluation with a fixed
            size, of that.

        Raises:
            ValueError: if there is no image, or one is larger than the fixed size.
        """
        return self._batch([frame for item in batched_inputs for frame in per_frame(item, "image")])

    def prepare_targets(
        self, batched_inputs: list[dict], images: ImageList, mask_size: Size
    ) -> list[FrameTargets]:
        """Ground truth of a batch, frames of clips in order, with masks of size (h, w)."""
        instances = [x for item in batched_inputs for x in per_frame(item, "instances")]
        padded_size = tuple(images.tensor.shape[-2:])
        return prepare_targets(instances, padded_size, mask_size, self.device)

    def loss_normalizer(self, name: str, batched_inputs: list[dict]) -> int:
        """What a loss of a batch is divided by, so that parts of it can be put together.

        By default the number of objects in all images and frames.
        """
        return sum(self.count_objects(batched_inputs))

    @staticmethod
    def count_objects(batched_inputs: list[dict]) -> list[int]:
        """How many objects are visible in each image, frames of clips in order."""
        frames = [x for item in batched_inputs for x in per_frame(item, "instances")]
        return [int(visible(x).sum()) for x in frames]

    def upsample_mask_logits(self, mask_logits: torch.Tensor) -> torch.Tensor:
        """(B, N, h, w) to the resolution of the probabilities, by ``mask_upsampling``."""
        if self.mask_upsampling == 1:
            return mask_logits
        return bilinear_resize(mask_logits, self.upsampled_size(mask_logits))

    def upsampled_size(self, mask_logits: torch.Tensor) -> Size:
        """(H, W) of :meth:`upsample_mask_logits`."""
        height, width = mask_logits.shape[-2:]
        return height * self.mask_upsampling, width * self.mask_upsampling

    def inference(self, outputs: Outputs, sizes: Sequence[tuple[Size, Size]]) -> list[Instances]:
        """Turn outputs into instances.

        Args:
            outputs: of :meth:`forward_inference`.
            sizes: per image its size (H, W) inside the padded batch, and its original size.

        Returns:
            Per image ``pred_masks``, ``pred_classes``, ``scores`` and ``pred_boxes``, best first.
        """
        return [
            predict_instances(
                self.postprocessing,
                scores,
                mask_logits,
                image_size=image_size,
                output_size=output_size,
                mask_stride=self.mask_stride,
                mask_upsampling=self.mask_upsampling,
                encode=self.encodes_masks,
            )
            for scores, mask_logits, (image_size, output_size) in zip(
                outputs["scores"], outputs["mask_logits"], sizes, strict=True
            )
        ]

    @contextmanager
    def encoding_masks(self) -> Iterator[None]:
        """A context in which :attr:`encodes_masks` is set, for evaluation."""
        self.encodes_masks = True
        try:
            yield
        finally:
            self.encodes_masks = False

    def export_graphs(self, size: Size) -> dict[str, ExportGraph]:
        """Fixed-size graphs of plain tensor operations, for other runtimes.

        Args:
            size: (H, W) of the image, multiples of ``size_divisibility``.

        Returns:
            ``image`` with ``scores`` (1, N, K) in [0, 1] and ``mask_logits`` (1, N, h, w); of a
            :class:`VideoSegmentor` also ``keyframe`` with ``kernels`` (1, N, D), ``scores`` and
            ``mask_features`` (1, D, h, w), and ``reuse`` with ``mask_features``. They compute on a
            copy of the model.

        Raises:
            RuntimeError: if the model is in training mode.
            ValueError: if a side is no positive multiple.
        """
        return build_export_graphs(self, self._export_parts(), size, self.size_divisibility)

    def _export_parts(self) -> dict[str, tuple[Callable, tuple[str, ...]]]:
        """What each graph computes of a model and normalised images, and names of its outputs."""
        return {"image": (type(self).forward_inference, ("scores", "mask_logits"))}

    def _batch(self, frames: Sequence[torch.Tensor]) -> ImageList:
        if not frames:
            raise ValueError("the batch has no image: give at least one, or a clip with a frame")
        check_images(frames, len(self.pixel_mean))
        # In the precision of the parameters, whatever a mapper or frames come in.
        dtype = self.pixel_mean.dtype
        return self._stack([x.to(self.device).to(dtype) for x in frames])

    def _stack(self, frames: Sequence[torch.Tensor]) -> ImageList:
        normalised = [(x - self.pixel_mean) / self.pixel_std for x in frames]
        fixed_size = None if self.training else self.fixed_size
        return pad_images(normalised, self.size_divisibility, fixed_size)


class VideoSegmentor(InstanceSegmentor):
    """A network whose masks are products of kernels with mask features: it can track.

    Kernels of a key frame serve the frames after it (paper, eq. 1), and associate key frames.
    Whole videos and streams are predicted with :mod:`mobileinst_d2.tracking`, which calls
    :meth:`keyframe` and :meth:`reuse`.
    """

    @abstractmethod
    def forward_keyframe(self, images: torch.Tensor) -> Outputs:
        """Run the whole network.

        Args:
            images: (B, 3, H, W), see :meth:`forward_inference`.

        Returns:
            ``kernels`` (B, N, D), ``scores`` (B, N, K) in [0, 1] and ``mask_features``
            (B, D, H / mask_stride, W / mask_stride).
        """

    @abstractmethod
    def forward_reuse(self, images: torch.Tensor) -> Outputs:
        """Run the part that gives ``mask_features`` alone, see :meth:`forward_keyframe`."""

    def forward_inference(self, images: torch.Tensor) -> Outputs:
        """Scores and mask logits, see :class:`InstanceSegmentor`."""
        outputs = self.forward_keyframe(images)
        mask_logits = mask_product(outputs["kernels"], outputs["mask_features"])
        return {"scores": outputs["scores"], "mask_logits": mask_logits}

    def keyframe(self, frames: Sequence[torch.Tensor]) -> Outputs:
        """Everything about key frames that tracking needs.

        Args:
            frames: B images (3, H, W) in [0, 255].

        Returns:
            See :meth:`forward_keyframe`, of the padded batch.

        Raises:
            RuntimeError: if the model is in training mode.
            ValueError: if there is no image.
        """
        self._require_eval()
        return self.forward_keyframe(self._batch(frames).tensor)

    def reuse(self, frames: Sequence[torch.Tensor]) -> torch.Tensor:
        """Mask features of frames that reuse the kernels of a key frame (paper, eq. 1).

        Args:
            frames: B images (3, H, W) in [0, 255].

        Returns:
            (B, D, h, w), of the padded batch.

        Raises:
            RuntimeError: if the model is in training mode.
            ValueError: if there is no image.
        """
        self._require_eval()
        return self.forward_reuse(self._batch(frames).tensor)["mask_features"]

    def _export_parts(self) -> dict[str, tuple[Callable, tuple[str, ...]]]:
        """The image graph; ``keyframe`` and ``reuse`` with the outputs of their methods."""
        return {
            **super()._export_parts(),
            "keyframe": (type(self).forward_keyframe, ("kernels", "scores", "mask_features")),
            "reuse": (type(self).forward_reuse, ("mask_features",)),
        }

    def _require_eval(self) -> None:
        if self.training:
            raise RuntimeError("the model is in training mode: call model.eval() to predict videos")


def instance_scores(class_logits: torch.Tensor, objectness_logits: torch.Tensor) -> torch.Tensor:
    """``sqrt(class probability * objectness)`` (SparseInst, section 3.3).

    Logits (..., N, K) of classes and (..., N) of objectness to (..., N, K) in [0, 1].
    """
    # The root of a product of sigmoids. Written with exponentials, small scores keep their digits
    # in other runtimes, whose sigmoids are off by 1e-8: the root of that is 1e-4.
    classes, objectness = 1 + (-class_logits).exp(), 1 + (-objectness_logits).exp()
    return (classes * objectness[..., None]).rsqrt()


def _original_size(item: dict) -> Size:
    height, width = item["image"].shape[-2:]
    return int(item.get("height", height)), int(item.get("width", width))
