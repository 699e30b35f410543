"""MobileInst: image and video instance segmentation on the mobile (AAAI 2024)."""

from itertools import pairwise
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.structures import ImageList
from torch import nn

from mobileinst_d2.structures import per_frame

from ..criterion import MobileInstCriterion, PassedOutputs, count_for_loss
from ..instance_decoder import DualTransformerInstanceDecoder
from ..layers import mask_product
from ..mask_decoder import MaskDecoderOutput, build_mask_decoder
from ..targets import visible
from .base import VideoSegmentor, instance_scores

__all__ = ["MobileInst"]

# Mask logits are upsampled to stride 4, as in SparseInst.
_MASK_UPSAMPLING = 2


@META_ARCH_REGISTRY.register()
class MobileInst(VideoSegmentor):
    """Mobile backbone, semantic-enhanced mask decoder and dual transformer instance decoder.

    Images and clips train through the same ``forward``; clips with passed queries.
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
        query_passing: bool = True,
        **shared: Any,
    ) -> None:
        """Build the model.

        Args:
            backbone: gives the local features and the global one.
            mask_decoder: see ``MASK_DECODER_REGISTRY``.
            instance_decoder: from mask features and the global feature to
                :class:`InstancePredictions`.
            criterion: computes the losses.
            global_feature: name of the backbone's global feature.
            query_passing: train clips with passed queries.
            **shared: see :class:`InstanceSegmentor`.
        """
        super().__init__(
            size_divisibility=backbone.size_divisibility,
            mask_upsampling=_MASK_UPSAMPLING,
            **shared,
        )
        self.backbone = backbone
        self.mask_decoder = mask_decoder
        self.instance_decoder = instance_decoder
        self.criterion = criterion
        self.global_feature = global_feature
        self.query_passing = query_passing

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from ``cfg``."""
        backbone = build_backbone(cfg)
        shapes = backbone.output_shape()
        features = cfg.MODEL.MOBILEINST.BACKBONE_FEATURES
        return {
            **super().from_config(cfg),
            "backbone": backbone,
            "mask_decoder": build_mask_decoder(cfg, shapes),
            "instance_decoder": DualTransformerInstanceDecoder(cfg, shapes),
            "criterion": MobileInstCriterion(cfg),
            "global_feature": features[-1],
            "mask_stride": shapes[features[0]].stride,
            "query_passing": cfg.MODEL.MOBILEINST.QUERY_PASSING != "none",
        }

    def forward_training(
        self, images: ImageList, batched_inputs: list[dict]
    ) -> dict[str, torch.Tensor]:
        """Losses of all frames, and of passed queries in clips."""
        features = self._encode(images.tensor)
        outputs = self._decode(features)
        mask_size = self.upsampled_size(outputs["mask_logits"])
        targets = self.prepare_targets(batched_inputs, images, mask_size)
        pairs = _passing_pairs(batched_inputs) if self.query_passing else []
        passed = self._pass_queries(outputs, features, pairs) if pairs else None
        names = ("class_logits", "objectness_logits", "mask_logits")
        return self.criterion({name: outputs[name] for name in names}, targets, passed)

    def loss_normalizer(self, name: str, batched_inputs: list[dict]) -> int:
        """The number of objects or of matches, see :func:`count_for_loss`.

        Of passed queries, those in all frames of a clip but the first. With "identity" a match must
        show in both frames; which objects of a crowded first one are matched is not known before.
        """
        shown = [[visible(x) for x in per_frame(item, "instances")] for item in batched_inputs]
        if name.startswith("loss_passed"):
            both = name == "loss_passed_mask" and self.criterion.passing_match == "identity"
            shown = [[b & a if both else b for a, b in pairwise(clip)] for clip in shown]
        counts = [int(x.sum()) for clip in shown for x in clip]
        return count_for_loss(name, counts, self.instance_decoder.num_queries)

    def forward_keyframe(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Kernels, scores and mask features, see :class:`VideoSegmentor`."""
        mask_output, x_global = self._encode(images)
        predictions = self.instance_decoder(mask_output, x_global)
        return {
            "kernels": predictions.kernels,
            "scores": instance_scores(predictions.class_logits, predictions.objectness_logits),
            "mask_features": mask_output.mask_features,
        }

    def forward_reuse(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Backbone and mask decoder alone."""
        return {"mask_features": self._encode(images)[0].mask_features}

    def raw_outputs(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the network as in training.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            ``class_logits`` (B, N, K), ``objectness_logits`` (B, N), ``kernels`` (B, N, D),
            ``queries`` and ``passing_queries`` (B, N, C), and ``mask_logits`` (B, N, H/4, W/4).
        """
        outputs = self._decode(self._encode(images))
        return {**outputs, "mask_logits": self.upsample_mask_logits(outputs["mask_logits"])}

    def _encode(self, images: torch.Tensor) -> tuple[MaskDecoderOutput, torch.Tensor]:
        features = self.backbone(images)
        return self.mask_decoder(features), features[self.global_feature]

    def _decode(self, features: tuple[MaskDecoderOutput, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Outputs of the decoder, with mask logits that are not upsampled."""
        outputs = self.instance_decoder(*features)._asdict()
        mask_logits = mask_product(outputs["kernels"], features[0].mask_features)
        return {**outputs, "mask_logits": mask_logits}

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
        mask_output = MaskDecoderOutput(*(x[frames] for x in features[0]))
        predictions = self.instance_decoder.decode_passed(passed, mask_output, features[1][frames])
        return PassedOutputs(
            class_logits=predictions.class_logits,
            mask_logits=mask_product(predictions.kernels, mask_output.mask_features),
            sources=sources,
            frames=frames,
        )


def _passing_pairs(batched_inputs: list[dict]) -> list[tuple[int, int]]:
    """Batch indices (source, frame) of consecutive frames inside each clip."""
    pairs = []
    start = 0
    for item in batched_inputs:
        length = len(per_frame(item, "image"))
        pairs += [(first, first + 1) for first in range(start, start + length - 1)]
        start += length
    return pairs
