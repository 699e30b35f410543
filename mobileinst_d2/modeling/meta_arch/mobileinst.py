"""MobileInst: image and video instance segmentation on the mobile (AAAI 2024)."""

from collections.abc import Sequence

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.structures import ImageList, Instances
from torch import nn

from ..criterion import MobileInstCriterion, PassedOutputs
from ..deploy import ExportGraph, build_export_graphs
from ..instance_decoder import build_instance_decoder
from ..mask_decoder import MaskDecoderOutput, build_mask_decoder
from ..options import check_option
from ..postprocess import (
    MASK_PASTES,
    instance_scores,
    mask_product,
    predict_instances,
    upsample_mask_logits,
)
from ..targets import FrameTargets, prepare_targets
from .padding import pad_to_size

__all__ = ["MobileInst"]


@META_ARCH_REGISTRY.register()
class MobileInst(nn.Module):
    """Mobile backbone, semantic-enhanced mask decoder and dual transformer instance decoder.

    Images and clips train through the same ``forward``. Whole videos and streams are predicted
    with :mod:`mobileinst_d2.tracking`, which calls :meth:`keyframe` and :meth:`reuse`.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        mask_decoder: nn.Module,
        instance_decoder: nn.Module,
        criterion: nn.Module,
        global_feature: str,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        query_passing: bool = True,
        detach_passed: bool = False,
        two_way_passing: bool = False,
        score_threshold: float = 0.005,
        mask_threshold: float = 0.45,
        mask_rescore: bool = True,
        max_detections: int = 100,
        mask_paste: str = "box",
        fixed_size: tuple[int, int] | None = None,
    ) -> None:
        """Build the model.

        Args:
            backbone: gives the local features and the global one.
            mask_decoder: see ``MASK_DECODER_REGISTRY``.
            instance_decoder: see ``INSTANCE_DECODER_REGISTRY``.
            criterion: computes the losses.
            global_feature: name of the backbone's global feature.
            pixel_mean: per channel mean, in the range of the pixels (0 to 255).
            pixel_std: per channel standard deviation.
            query_passing: train clips with passed queries.
            detach_passed: stop the gradient into the frame that passes its queries.
            two_way_passing: pass queries backward in the clip too.
            score_threshold: class scores must be above it.
            mask_threshold: mask probability above which a pixel belongs to the instance.
            mask_rescore: multiply scores by the maskness.
            max_detections: results per image at most.
            mask_paste: "box" or "published", see :func:`predict_instances`.
            fixed_size: (H, W) to which images are padded in evaluation; None = as little as can be.

        Raises:
            ValueError: if a side of ``fixed_size`` is no multiple of the backbone's
                ``size_divisibility``, or ``mask_paste`` is unknown.
        """
        super().__init__()
        check_option("TEST.MASK_PASTE", mask_paste, MASK_PASTES)
        if fixed_size and any(side % backbone.size_divisibility for side in fixed_size):
            raise ValueError(
                f"INPUT.FIXED_SIZE_TEST is {fixed_size}: both sides must be multiples of "
                f"{backbone.size_divisibility}"
            )
        self.backbone = backbone
        self.mask_decoder = mask_decoder
        self.instance_decoder = instance_decoder
        self.criterion = criterion
        self.global_feature = global_feature
        self.query_passing = query_passing
        self.detach_passed = detach_passed
        self.two_way_passing = two_way_passing
        self.score_threshold = score_threshold
        self.mask_threshold = mask_threshold
        self.mask_rescore = mask_rescore
        self.max_detections = max_detections
        self.mask_paste = mask_paste
        self.fixed_size = fixed_size
        mean = torch.tensor(pixel_mean, dtype=torch.float32).view(-1, 1, 1)
        std = torch.tensor(pixel_std, dtype=torch.float32).view(-1, 1, 1)
        self.register_buffer("pixel_mean", mean, persistent=False)
        self.register_buffer("pixel_std", std, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict:
        """Keyword arguments from ``cfg``."""
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        passing = cfg.MODEL.MOBILEINST.QUERY_PASSING
        return {
            "backbone": backbone,
            "mask_decoder": build_mask_decoder(cfg, shapes),
            "instance_decoder": build_instance_decoder(cfg, shapes),
            "criterion": MobileInstCriterion(cfg),
            "global_feature": cfg.MODEL.MASK_DECODER.GLOBAL_FEATURE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "query_passing": passing.ENABLED,
            "detach_passed": passing.DETACH,
            "two_way_passing": passing.TWO_WAY,
            "score_threshold": cfg.TEST.SCORE_THRESHOLD,
            "mask_threshold": cfg.TEST.MASK_THRESHOLD,
            "mask_rescore": cfg.TEST.MASK_RESCORE,
            "max_detections": cfg.TEST.DETECTIONS_PER_IMAGE,
            "mask_paste": cfg.TEST.MASK_PASTE,
            "fixed_size": tuple(cfg.INPUT.FIXED_SIZE_TEST) or None,
        }

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
            ``{"instances": Instances}`` per image, with masks of the original size.

        Raises:
            ValueError: if a video is given in evaluation; :class:`VideoPredictor` takes those.
        """
        if not self.training:
            return self._predict(batched_inputs)
        images = self.preprocess(batched_inputs)
        features = self._encode(images.tensor)
        outputs = self._outputs(features)
        targets = self._targets(batched_inputs, images, outputs)
        pairs = self._passing_pairs(batched_inputs) if self.query_passing else []
        passed = self._pass_queries(outputs, features, pairs) if pairs else None
        return self.losses(outputs, targets, passed)

    def preprocess(self, batched_inputs: list[dict]) -> ImageList:
        """Normalise the images, frames of clips in order, and pad them to one size.

        Args:
            batched_inputs: see :meth:`forward`.

        Returns:
            A batch whose sides are multiples of the backbone's ``size_divisibility``; in
            evaluation with a fixed size, of that.

        Raises:
            ValueError: if an image is larger than the fixed size.
        """
        frames: list[torch.Tensor] = []
        for item in batched_inputs:
            frames.extend(item["image"] if _is_clip(item) else [item["image"]])
        return self._batch(frames)

    def raw_outputs(self, images: ImageList | torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the network.

        Args:
            images: a preprocessed batch, (B, 3, H, W).

        Returns:
            ``class_logits`` (B, N, K), ``objectness_logits`` (B, N), ``kernels`` (B, N, D),
            ``queries`` and ``passing_queries`` (B, N, C), ``coarse_mask_logits``
            (B, N, H/8, W/8) and ``mask_logits`` (B, N, H/4, W/4).
        """
        tensor = images.tensor if isinstance(images, ImageList) else images
        return self._outputs(self._encode(tensor))

    def losses(
        self,
        outputs: dict[str, torch.Tensor],
        targets: list[FrameTargets],
        passed: PassedOutputs | None = None,
    ) -> dict[str, torch.Tensor]:
        """Weighted scalar losses, see :class:`MobileInstCriterion`."""
        names = ("class_logits", "objectness_logits", "mask_logits")
        return self.criterion({name: outputs[name] for name in names}, targets, passed)

    def inference(
        self,
        outputs: dict[str, torch.Tensor],
        sizes: list[tuple[tuple[int, int], tuple[int, int]]],
    ) -> list[Instances]:
        """Turn outputs into instances.

        Args:
            outputs: of :meth:`raw_outputs`; ``mask_logits`` are not needed.
            sizes: per image its size (H, W) inside the padded batch, and its original size.

        Returns:
            Per image ``pred_masks``, ``pred_classes``, ``scores`` and ``pred_boxes``, best first.
        """
        scores = instance_scores(outputs["class_logits"], outputs["objectness_logits"])
        return [
            predict_instances(
                *image_outputs,
                *image_sizes,
                score_threshold=self.score_threshold,
                mask_threshold=self.mask_threshold,
                mask_rescore=self.mask_rescore,
                max_detections=self.max_detections,
                mask_paste=self.mask_paste,
            )
            for image_outputs, image_sizes in zip(
                zip(scores, outputs["coarse_mask_logits"], strict=True), sizes, strict=True
            )
        ]

    def keyframe(self, frames: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Everything about key frames that tracking needs.

        Args:
            frames: B images (3, H, W) in [0, 255].

        Returns:
            ``kernels`` (B, N, D), ``queries`` (B, N, C), ``scores`` (B, N, K) in [0, 1], and
            ``mask_features`` (B, D, h, w) at stride 8 of the padded batch.

        Raises:
            RuntimeError: if the model is in training mode.
        """
        self._require_eval()
        return self._decode_keyframe(self._batch(frames).tensor)

    def reuse(self, frames: Sequence[torch.Tensor]) -> torch.Tensor:
        """Mask features of frames that reuse the kernels of a key frame (paper, eq. 1).

        Args:
            frames: B images (3, H, W) in [0, 255].

        Returns:
            (B, D, h, w), at stride 8 of the padded batch.

        Raises:
            RuntimeError: if the model is in training mode.
        """
        self._require_eval()
        return self._decode_reuse(self._batch(frames).tensor)["mask_features"]

    def export_graphs(
        self, size: tuple[int, int] = (640, 640), *, queries: bool = False
    ) -> dict[str, ExportGraph]:
        """Fixed-size graphs of plain tensor operations, for other runtimes.

        Args:
            size: (H, W) of the image, multiples of the backbone's ``size_divisibility``.
            queries: give the queries of key frames too, which tracking compares where
                ``TEST.TRACKING.ASSOCIATION_FEATURE`` is "query".

        Returns:
            ``image`` with ``scores`` (1, N, K) in [0, 1] and ``mask_logits`` (1, N, H/8, W/8);
            ``keyframe`` with ``kernels`` (1, N, D), ``scores``, ``mask_features``
            (1, D, H/8, W/8) and, if wanted, ``queries`` (1, N, C); ``reuse`` with
            ``mask_features``. They compute on a copy of the model.

        Raises:
            RuntimeError: if the model is in training mode.
            ValueError: if a side is no positive multiple.
        """
        keyframe_names = ("kernels", "scores", "mask_features")
        parts = {
            "image": (MobileInst._decode_image, ("scores", "mask_logits")),
            "keyframe": (MobileInst._decode_keyframe, keyframe_names + ("queries",) * queries),
            "reuse": (MobileInst._decode_reuse, ("mask_features",)),
        }
        return build_export_graphs(self, parts, size, self.backbone.size_divisibility)

    def _require_eval(self) -> None:
        if self.training:
            raise RuntimeError("the model is in training mode: call model.eval() to predict videos")

    def _predict(self, batched_inputs: list[dict]) -> list[dict]:
        for item in batched_inputs:
            if _is_clip(item):
                raise ValueError(
                    f"video {item.get('video_id')!r}: the model predicts single images; use "
                    "mobileinst_d2.tracking.VideoPredictor for videos"
                )
        images = self.preprocess(batched_inputs)
        sizes = [
            (size, (item.get("height", size[0]), item.get("width", size[1])))
            for item, size in zip(batched_inputs, images.image_sizes, strict=True)
        ]
        outputs = self._outputs(self._encode(images.tensor), upsample=False)
        instances = self.inference(outputs, sizes)
        return [{"instances": x} for x in instances]

    def _batch(self, frames: Sequence[torch.Tensor]) -> ImageList:
        normalised = [(x.to(self.device) - self.pixel_mean) / self.pixel_std for x in frames]
        if self.training or not self.fixed_size:
            return ImageList.from_tensors(normalised, self.backbone.size_divisibility)
        return pad_to_size(normalised, self.fixed_size)

    def _encode(self, images: torch.Tensor) -> tuple[MaskDecoderOutput, torch.Tensor]:
        features = self.backbone(images)
        return self.mask_decoder(features), features[self.global_feature]

    def _decode_keyframe(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        mask_output, x_global = self._encode(images)
        predictions = self.instance_decoder(mask_output, x_global)
        return {
            "kernels": predictions.kernels,
            "queries": predictions.queries,
            "scores": instance_scores(predictions.class_logits, predictions.objectness_logits),
            "mask_features": mask_output.mask_features,
        }

    def _decode_reuse(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"mask_features": self._encode(images)[0].mask_features}

    def _decode_image(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        outputs = self._decode_keyframe(images)
        mask_logits = mask_product(outputs["kernels"], outputs["mask_features"])
        return {"scores": outputs["scores"], "mask_logits": mask_logits}

    def _outputs(
        self, features: tuple[MaskDecoderOutput, torch.Tensor], *, upsample: bool = True
    ) -> dict[str, torch.Tensor]:
        outputs = self.instance_decoder(*features)._asdict()
        logits = mask_product(outputs["kernels"], features[0].mask_features)
        outputs["coarse_mask_logits"] = logits
        if upsample:
            outputs["mask_logits"] = upsample_mask_logits(logits)
        return outputs

    def _targets(
        self, batched_inputs: list[dict], images: ImageList, outputs: dict[str, torch.Tensor]
    ) -> list[FrameTargets]:
        instances: list[Instances] = []
        for item in batched_inputs:
            instances.extend(item["instances"] if _is_clip(item) else [item["instances"]])
        padded_size = tuple(images.tensor.shape[-2:])
        mask_size = tuple(outputs["mask_logits"].shape[-2:])
        return prepare_targets(instances, padded_size, mask_size, self.device)

    def _passing_pairs(self, batched_inputs: list[dict]) -> list[tuple[int, int]]:
        """Batch indices (source, frame) of consecutive frames inside each clip."""
        pairs = []
        start = 0
        for item in batched_inputs:
            length = len(item["image"]) if _is_clip(item) else 1
            for first in range(start, start + length - 1):
                pairs.append((first, first + 1))
                if self.two_way_passing:
                    pairs.append((first + 1, first))
            start += length
        return pairs

    def _pass_queries(
        self,
        outputs: dict[str, torch.Tensor],
        features: tuple[MaskDecoderOutput, torch.Tensor],
        pairs: list[tuple[int, int]],
    ) -> PassedOutputs:
        """Predict frames from the queries of others in their clip (paper, section 3.5)."""
        sources = [source for source, _ in pairs]
        frames = [frame for _, frame in pairs]
        passed = outputs["passing_queries"][sources]
        if self.detach_passed:
            passed = passed.detach()
        mask_output = MaskDecoderOutput(*(x[frames] for x in features[0]))
        predictions = self.instance_decoder.decode_passed(passed, mask_output, features[1][frames])
        mask_logits = mask_product(predictions.kernels, mask_output.mask_features)
        return PassedOutputs(
            class_logits=predictions.class_logits,
            mask_logits=upsample_mask_logits(mask_logits),
            sources=sources,
            frames=frames,
        )


def _is_clip(item: dict) -> bool:
    return not isinstance(item["image"], torch.Tensor)
