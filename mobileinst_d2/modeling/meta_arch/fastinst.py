"""FastInst: instance segmentation by queries from pixels (CVPR 2023)."""

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from torch import nn

from mobileinst_core.options import check_option

from ..backbone import build_feature_backbone
from ..criterion import FastInstCriterion, PixelProposals, QueryOutputs
from ..criterion.set_criterion import Assignment
from ..instance_decoder import DualPathDecoder, DualPathOutput
from ..mask_decoder import PPMFPN, feature_channels
from ..targets import FrameTargets
from .base import VideoSegmentor

__all__ = ["FastInst"]

# Images are padded to multiples of the coarsest feature's stride.
_SIZE_DIVISIBILITY = 32
# That of the level from which queries are taken.
_QUERY_STRIDE = 16
# The decoders of the paper, and of a light Mask2Former.
_DECODERS = {
    "fastinst": {"queries": "activation", "dual_path": True, "num_aux_queries": 8},
    "mask2former": {"queries": "learned", "dual_path": False, "num_aux_queries": 0},
}


@META_ARCH_REGISTRY.register()
class FastInst(VideoSegmentor):
    """Pixel decoder and dual-path decoder; with learned queries and one path a light Mask2Former.

    Mask features belong to the queries of their frame: they are made from pixels that have read
    from them. So a frame that reuses kernels costs as much as a key frame.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        in_features: Sequence[str],
        pixel_decoder: nn.Module,
        decoder: nn.Module,
        criterion: nn.Module,
        mask_guided: bool = True,
        ignore_padding: bool = True,
        **shared: Any,
    ) -> None:
        """Build the model.

        Args:
            backbone: gives features at strides 8, 16 and 32.
            in_features: their names.
            pixel_decoder: see :class:`PPMFPN`.
            decoder: see :class:`DualPathDecoder`.
            criterion: computes the losses.
            mask_guided: train each layer once more, with the masks of the ground truth.
            ignore_padding: take no queries from the padding, and do not train pixels there.
            **shared: see :class:`InstanceSegmentor`.
        """
        super().__init__(size_divisibility=_SIZE_DIVISIBILITY, **shared)
        self.backbone = backbone
        self.in_features = list(in_features)
        self.pixel_decoder = pixel_decoder
        self.decoder = decoder
        self.criterion = criterion
        self.mask_guided = mask_guided
        self.ignore_padding = ignore_padding

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from ``cfg``."""
        node = cfg.MODEL.FASTINST
        check_option("MODEL.FASTINST.DECODER", node.DECODER, _DECODERS)
        backbone, in_features = build_feature_backbone(cfg)
        shapes = backbone.output_shape()
        return {
            **super().from_config(cfg),
            "backbone": backbone,
            "in_features": in_features,
            "pixel_decoder": PPMFPN(
                feature_channels(shapes, in_features),
                node.HIDDEN_DIM,
                norm=node.NORM,
            ),
            "decoder": DualPathDecoder(
                num_classes=cfg.MODEL.NUM_CLASSES,
                **_DECODERS[node.DECODER],
                num_queries=node.NUM_QUERIES,
                num_layers=node.NUM_LAYERS,
                dim=node.HIDDEN_DIM,
                num_heads=node.NUM_HEADS,
                ffn_dim=4 * node.HIDDEN_DIM,
                position_size=node.POSITION_SIZE,
            ),
            "criterion": FastInstCriterion(cfg),
            "mask_guided": node.DECODER == "fastinst",
            "mask_stride": shapes[in_features[0]].stride,
            "ignore_padding": node.IGNORE_PADDING,
        }

    def forward_training(
        self, images: ImageList, batched_inputs: list[dict]
    ) -> dict[str, torch.Tensor]:
        """Losses of all heads, of guided passes and of the pixels that queries come from."""
        inside = self._inside(images.tensor)
        decoded = self._decode(images.tensor, inside)
        outputs = [QueryOutputs(x.class_logits, x.mask_logits) for x in decoded.predictions]
        proposals = None
        if decoded.proposals is not None:
            proposals = PixelProposals(decoded.proposals.logits, decoded.proposals.pixels, inside)
        # Points are taken from whole masks.
        targets = self.prepare_targets(batched_inputs, images, tuple(images.tensor.shape[-2:]))
        match = self.criterion.match(outputs[-1], targets, proposals)
        guided = []
        if self.mask_guided:
            visible = _object_masks(targets, match, outputs[-1].mask_logits.shape)
            guided = [
                QueryOutputs(x.class_logits, x.mask_logits)
                for x in self.decoder.decode_guided(decoded.states, visible)
            ]
        return self.criterion(guided, outputs, match, targets, proposals)

    def loss_normalizer(self, name: str, batched_inputs: list[dict]) -> float:
        """The number of objects; of class losses the sum of weights, of pixels that of frames."""
        per_frame = self.count_objects(batched_inputs)
        if name == "loss_proposal":
            return len(per_frame)
        if name.startswith("loss_ce"):
            num_queries = self.decoder.num_queries
            num_matched = sum(min(count, num_queries) for count in per_frame)
            weight = self.criterion.class_weights[-1].item()
            return num_matched + weight * (len(per_frame) * num_queries - num_matched)
        return sum(per_frame)

    def forward_keyframe(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Mask embeddings, scores and mask features, see :class:`VideoSegmentor`."""
        last = self._decode(images, self._inside(images)).predictions[-1]
        return {
            "kernels": last.kernels,
            "scores": last.class_logits.softmax(2)[:, :, :-1],
            "mask_features": last.mask_features,
        }

    def forward_reuse(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Mask features, see the class."""
        last = self._decode(images, self._inside(images)).predictions[-1]
        return {"mask_features": last.mask_features}

    def raw_outputs(self, images: torch.Tensor) -> DualPathOutput:
        """What the decoder gives for images (B, 3, H, W), normalised."""
        return self._decode(images, self._inside(images))

    def _decode(self, images: torch.Tensor, inside: torch.Tensor | None) -> DualPathOutput:
        features = self.backbone(images)
        fine, middle, _ = self.pixel_decoder([features[name] for name in self.in_features])
        return self.decoder(fine, middle, inside)

    def _inside(self, images: torch.Tensor) -> torch.Tensor | None:
        """(B, H/16, W/16), 0 where a pixel at stride 16 shows nothing but padding, else 1.

        Padding is exactly 0 behind the normalisation, also in exported graphs. No image is, as no
        integer is the mean of a channel.
        """
        if not self.ignore_padding or self.decoder.proposals is None:
            return None
        content = images.abs().amax(dim=1)
        return (F.max_pool2d(content, _QUERY_STRIDE) > 0).to(images.dtype)


def _object_masks(
    targets: list[FrameTargets], match: Assignment, shape: Sequence[int]
) -> torch.Tensor:
    """(B, N, h, w) bool: of matched queries the mask of their object, of others everything."""
    masks = torch.ones(tuple(shape), dtype=torch.bool, device=targets[0].masks.device)
    for image, target, (queries, objects) in zip(masks, targets, match, strict=True):
        if len(queries):
            small = F.interpolate(target.masks[None], size=tuple(shape[-2:]), mode="nearest")[0]
            image[queries] = small[objects] > 0
    return masks
