"""SparseInst: sparse instance activation for real-time instance segmentation (CVPR 2022)."""

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from torch import nn

from ..backbone import build_feature_backbone
from ..criterion import SparseInstCriterion, count_for_loss
from ..instance_decoder import IAMDecoder
from ..layers import CoordinateChannels, init_conv, mask_product
from ..mask_decoder import InstanceContextEncoder, MaskBranch
from .base import VideoSegmentor, instance_scores

__all__ = ["SparseInst"]

# Images are padded to multiples of the coarsest feature's stride.
_SIZE_DIVISIBILITY = 32
# Mask logits are upsampled from stride 8 to stride 4.
_MASK_UPSAMPLING = 2
# 3x3 convolutions of each branch, as published.
_NUM_CONVS = 4


@META_ARCH_REGISTRY.register()
class SparseInst(VideoSegmentor):
    """Backbone, instance context encoder, and an instance and a mask branch on its map.

    Images and clips train frame by frame. Videos are tracked by the mask kernels: with T = 1 this
    is SparseInst-VIS, the video baseline of MobileInst's paper.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        encoder: nn.Module,
        mask_branch: nn.Module,
        instance_decoder: nn.Module,
        criterion: nn.Module,
        in_features: Sequence[str],
        **shared: Any,
    ) -> None:
        """Build the model.

        Args:
            backbone: gives the features.
            encoder: maps the features, fine to coarse, to one map.
            mask_branch: maps that and its coordinates to the mask features.
            instance_decoder: maps the same to the instances.
            criterion: computes the losses.
            in_features: names of the features, fine to coarse.
            **shared: see :class:`InstanceSegmentor`.
        """
        super().__init__(
            size_divisibility=_SIZE_DIVISIBILITY, mask_upsampling=_MASK_UPSAMPLING, **shared
        )
        self.backbone = backbone
        self.encoder = encoder
        self.coordinates = CoordinateChannels()
        self.mask_branch = mask_branch
        self.instance_decoder = instance_decoder
        self.criterion = criterion
        self.in_features = list(in_features)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from ``cfg``."""
        node = cfg.MODEL.SPARSEINST
        backbone, in_features = build_feature_backbone(cfg)
        shapes = backbone.output_shape()
        dim = node.HIDDEN_DIM
        with_coordinates = dim + 2
        return {
            **super().from_config(cfg),
            "backbone": backbone,
            "encoder": InstanceContextEncoder([shapes[name].channels for name in in_features], dim),
            "mask_branch": _build_mask_branch(with_coordinates, dim, kernel_dim=node.KERNEL_DIM),
            "instance_decoder": IAMDecoder(
                with_coordinates,
                num_classes=cfg.MODEL.NUM_CLASSES,
                num_queries=node.NUM_QUERIES,
                dim=dim,
                num_convs=_NUM_CONVS,
                groups=node.GROUPS,
                activation=node.ACTIVATION,
                kernel_dim=node.KERNEL_DIM,
            ),
            "criterion": SparseInstCriterion(cfg),
            "in_features": in_features,
            "mask_stride": shapes[in_features[0]].stride,
        }

    def forward_training(
        self, images: ImageList, batched_inputs: list[dict]
    ) -> dict[str, torch.Tensor]:
        """Losses of all frames."""
        outputs = self._decode(images.tensor)
        mask_size = self.upsampled_size(outputs["mask_logits"])
        targets = self.prepare_targets(batched_inputs, images, mask_size)
        names = ("class_logits", "objectness_logits", "mask_logits")
        return self.criterion({name: outputs[name] for name in names}, targets)

    def loss_normalizer(self, name: str, batched_inputs: list[dict]) -> int:
        """The number of objects or of matches, see :func:`count_for_loss`."""
        counts = self.count_objects(batched_inputs)
        return count_for_loss(name, counts, self.instance_decoder.num_queries)

    def forward_keyframe(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Kernels, scores and mask features, see :class:`VideoSegmentor`."""
        x = self._encode(images)
        predictions = self.instance_decoder(x)
        return {
            "kernels": predictions.kernels,
            "scores": instance_scores(predictions.class_logits, predictions.objectness_logits),
            "mask_features": self.mask_branch(x).mask_features,
        }

    def forward_reuse(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """All but the instance branch."""
        return {"mask_features": self.mask_branch(self._encode(images)).mask_features}

    def raw_outputs(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Run the network as in training.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            ``class_logits`` (B, N, K), ``objectness_logits`` (B, N), ``kernels`` (B, N, D),
            ``mask_features`` (B, D, H/8, W/8) and ``mask_logits`` (B, N, H/4, W/4).
        """
        outputs = self._decode(images)
        return {**outputs, "mask_logits": self.upsample_mask_logits(outputs["mask_logits"])}

    def _decode(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """See :meth:`raw_outputs`, with mask logits that are not upsampled."""
        x = self._encode(images)
        outputs = self.instance_decoder(x)._asdict()
        mask_features = self.mask_branch(x).mask_features
        logits = mask_product(outputs["kernels"], mask_features)
        return {**outputs, "mask_features": mask_features, "mask_logits": logits}

    def _encode(self, images: torch.Tensor) -> torch.Tensor:
        """Images to the encoder's map with its coordinates in front, (B, 2 + C, H/8, W/8)."""
        features = self.backbone(images)
        x = self.encoder([features[name] for name in self.in_features])
        return torch.cat((self.coordinates(x), x), dim=1)


def _build_mask_branch(in_channels: int, dim: int, *, kernel_dim: int) -> MaskBranch:
    branch = MaskBranch(
        dim, in_channels=in_channels, kernel_dim=kernel_dim, num_convs=_NUM_CONVS, norm=""
    )
    if kernel_dim != dim:
        init_conv(branch.projection.conv)  # as the public code starts
    return branch
