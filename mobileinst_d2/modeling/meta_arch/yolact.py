"""YOLACT: real-time instance segmentation (ICCV 2019)."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList, Instances
from torch import nn

from mobileinst_d2.structures import per_frame

from ..anchors import AnchorGrid, decode_boxes
from ..backbone import build_feature_backbone
from ..criterion import YOLACTCriterion
from ..deploy import ExportGraph
from ..instance_decoder import AnchorHead
from ..layers import bilinear_resize, xavier_conv
from ..mask_decoder import NUM_PROTOTYPES, FeaturePyramid, Protonet
from ..postprocessing import build_prototype_postprocessing, predict_prototype_masks
from ..targets import prepare_box_targets
from .base import InstanceSegmentor, Outputs, Size

__all__ = ["YOLACT"]

logger = logging.getLogger(__name__)


@META_ARCH_REGISTRY.register()
class YOLACT(InstanceSegmentor):
    """Anchors on a feature pyramid, each with a class, a box and factors of mask prototypes.

    It predicts images; it cannot track. Images of any size and shape are stretched to the
    network's input, without rounding, and boxes are fractions of the image.
    """

    stretches_images = True
    predicts_boxes = True

    @configurable
    def __init__(
        self,
        *,
        backbone: nn.Module,
        in_features: Sequence[str],
        pyramid: nn.Module,
        protonet: nn.Module,
        head: nn.Module,
        anchors: AnchorGrid,
        semantic_head: nn.Module,
        criterion: nn.Module,
        input_size: Size = (550, 550),
        min_box_size: float = 4.0,
        **shared: Any,
    ) -> None:
        """Build the model.

        Args:
            backbone: gives the maps of ``in_features``.
            in_features: fine to coarse.
            pyramid: makes the levels of the maps.
            protonet: makes prototypes of the finest level.
            head: predicts from all levels.
            anchors: the boxes that the head's predictions are about.
            semantic_head: class logits at each position of the finest level, in training.
            criterion: computes the losses.
            input_size: (H, W) of the network's input.
            min_box_size: side, in pixels of the input, that an object's box must have in training.
            **shared: see :class:`InstanceSegmentor`.
        """
        super().__init__(mask_stride=4, size_divisibility=1, **shared)
        self.backbone = backbone
        self.in_features = tuple(in_features)
        self.pyramid = pyramid
        self.protonet = protonet
        self.head = head
        self.anchors = anchors
        self.semantic_head = semantic_head
        self.criterion = criterion
        self.input_size = tuple(input_size)
        self.min_box_size = min_box_size
        # Of the last training batch: how many there are follows from the backbone's maps.
        self._anchors = torch.zeros(0, 4)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Keyword arguments from ``cfg``; ValueError if another system's fixed size is set."""
        keys = cfg.MODEL.YOLACT
        if size := tuple(cfg.INPUT.FIXED_SIZE_TEST):
            raise ValueError(
                f"INPUT.FIXED_SIZE_TEST is {size}, but YOLACT stretches every image to "
                "MODEL.YOLACT.INPUT_SIZE: set that one, and leave INPUT.FIXED_SIZE_TEST empty"
            )
        backbone, in_features = build_feature_backbone(cfg)
        shapes = backbone.output_shape()
        dim, num_classes = keys.HIDDEN_DIM, cfg.MODEL.NUM_CLASSES
        pyramid = FeaturePyramid(
            [shapes[name].channels for name in in_features],
            dim,
            num_extra=len(keys.ANCHOR_SIZES) - len(in_features),
        )
        return {
            **super().from_config(cfg),
            "postprocessing": build_prototype_postprocessing(cfg),
            "backbone": backbone,
            "in_features": in_features,
            "pyramid": pyramid,
            "protonet": Protonet(dim),
            "head": AnchorHead(
                dim,
                num_classes=num_classes,
                num_anchors=len(keys.ANCHOR_RATIOS),
                num_prototypes=NUM_PROTOTYPES,
            ),
            "anchors": AnchorGrid(
                sizes=keys.ANCHOR_SIZES,
                ratios=keys.ANCHOR_RATIOS,
                shape=keys.ANCHOR_SHAPE,
                input_size=tuple(keys.INPUT_SIZE),
            ),
            "semantic_head": xavier_conv(dim, num_classes),
            "criterion": YOLACTCriterion(
                class_weight=keys.LOSS.CLASS_WEIGHT,
                box_weight=keys.LOSS.BOX_WEIGHT,
                mask_weight=keys.LOSS.MASK_WEIGHT,
                semantic_weight=keys.LOSS.SEMANTIC_WEIGHT,
            ),
            "input_size": tuple(keys.INPUT_SIZE),
            "min_box_size": keys.MIN_BOX_SIZE,
        }

    def forward_inference(self, images: torch.Tensor) -> Outputs:
        """Run the network in evaluation.

        Args:
            images: (B, 3, H, W), normalised, of any size.

        Returns:
            ``scores`` (B, A, K) of A anchors for K classes, ``boxes`` (B, A, 4) as fractions of
            the image, ``coefficients`` (B, A, D) and ``prototypes`` (B, D, h, w).
        """
        outputs = self._decode(self._encode(images))
        return {
            "scores": outputs["class_logits"].softmax(-1)[..., 1:],
            "boxes": decode_boxes(outputs["box_deltas"], outputs["anchors"]),
            "coefficients": outputs["coefficients"],
            "prototypes": outputs["prototypes"],
        }

    def forward_training(
        self, images: ImageList, batched_inputs: list[dict]
    ) -> dict[str, torch.Tensor]:
        """Losses of all images."""
        outputs = self.raw_outputs(images.tensor)
        self._anchors = outputs["anchors"]
        return self.criterion(outputs, self._targets(batched_inputs))

    def loss_normalizer(self, name: str, batched_inputs: list[dict]) -> int:
        """The number of images, or of positive anchors once a batch has been run."""
        if name == "loss_sem":
            return len(self.count_objects(batched_inputs))
        return self.criterion.count_positives(self._anchors, self._targets(batched_inputs))

    def raw_outputs(self, images: torch.Tensor) -> Outputs:
        """Run the network as in training.

        Args:
            images: (B, 3, H, W), normalised.

        Returns:
            ``class_logits`` (B, A, K + 1) with the background first, ``box_deltas`` (B, A, 4),
            ``coefficients`` (B, A, D), ``prototypes`` (B, D, h, w), ``semantic_logits``
            (B, K, h', w') and ``anchors`` (A, 4).
        """
        levels = self._encode(images)
        return {**self._decode(levels), "semantic_logits": self.semantic_head(levels[0])}

    def inference(self, outputs: Outputs, sizes: Sequence[tuple[Size, Size]]) -> list[Instances]:
        """Turn outputs into instances.

        Args:
            outputs: of :meth:`forward_inference`.
            sizes: per image the size of the input and its original size (H, W).

        Returns:
            Per image ``pred_masks``, ``pred_classes``, ``scores`` and ``pred_boxes``, which are
            those that the network predicts, best first. A mask may be empty.
        """
        images = ({k: v[i] for k, v in outputs.items()} for i in range(len(sizes)))
        return [
            predict_prototype_masks(self.postprocessing, image, output_size=output_size)
            for image, (_, output_size) in zip(images, sizes, strict=True)
        ]

    def export_graphs(self, size: Size) -> dict[str, ExportGraph]:
        """The graph ``image``, see :class:`InstanceSegmentor`, for any size.

        A warning tells of another one than the network is trained at, whose boxes and prototypes
        it has not learned.
        """
        if tuple(size) != self.input_size:
            logger.warning(
                "The graph takes %dx%d pixels, but the network is made for MODEL.YOLACT.INPUT_SIZE "
                "%dx%d: it finds less at another size.",
                *size,
                *self.input_size,
            )
        return super().export_graphs(size)

    def _export_parts(self) -> dict[str, tuple[Callable, tuple[str, ...]]]:
        names = ("scores", "boxes", "coefficients", "prototypes")
        return {"image": (type(self).forward_inference, names)}

    def _encode(self, images: torch.Tensor) -> list[torch.Tensor]:
        features = self.backbone(images)
        return self.pyramid([features[name] for name in self.in_features])

    def _decode(self, levels: list[torch.Tensor]) -> Outputs:
        return {
            **self.head(levels)._asdict(),
            "prototypes": self.protonet(levels[0]),
            "anchors": self.anchors(levels),
        }

    def _targets(self, batched_inputs: list[dict]) -> list:
        height, width = self.input_size
        min_size = (self.min_box_size / height, self.min_box_size / width)
        return [
            prepare_box_targets(
                instances, item.get("crowd_boxes"), min_size=min_size, device=self.device
            )
            for item in batched_inputs
            for instances in per_frame(item, "instances")
        ]

    def _stack(self, frames: Sequence[torch.Tensor]) -> ImageList:
        stretched = torch.cat([bilinear_resize(x[None], self.input_size) for x in frames])
        normalised = (stretched - self.pixel_mean) / self.pixel_std
        return ImageList(normalised, [self.input_size] * len(frames))
