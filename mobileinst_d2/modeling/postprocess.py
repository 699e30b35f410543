"""From network outputs to instances: the formulas that images, videos and streams share."""

import dataclasses
from dataclasses import dataclass

import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, Instances

from .box_masks import BoxMasks
from .masks import (
    MASK_FEATURE_STRIDE,
    PastedMasks,
    PublishedMasks,
    maskness,
    paste_masks,
    upsample_mask_logits,
)
from .options import check_option

# Other rooms know this module alone, so it also gives the formulas of masks.
__all__ = [
    "LABEL_RULES",
    "MASK_FEATURE_STRIDE",
    "MASK_PASTES",
    "MaskSource",
    "PastedMasks",
    "PostProcessing",
    "instance_scores",
    "mask_product",
    "maskness",
    "paste_masks",
    "predict_instances",
    "read_masks",
    "select_instances",
    "to_instances",
    "upsample_mask_logits",
]

LABEL_RULES = ("best", "all")

_MASK_SOURCES = {"box": BoxMasks, "published": PublishedMasks}
# Values of TEST.MASK_PASTE.
MASK_PASTES = tuple(_MASK_SOURCES)
MaskSource = BoxMasks | PublishedMasks


def mask_product(kernels: torch.Tensor, mask_features: torch.Tensor) -> torch.Tensor:
    """``M = K . X_mask`` (paper, eq. 1).

    Args:
        kernels: (B, N, D).
        mask_features: (B, D, h, w), stride 8.

    Returns:
        (B, N, h, w), mask logits at stride 8.
    """
    return (kernels @ mask_features.flatten(2)).unflatten(2, mask_features.shape[-2:])


def instance_scores(class_logits: torch.Tensor, objectness_logits: torch.Tensor) -> torch.Tensor:
    """``sqrt(class probability * objectness)`` (SparseInst, section 3.3).

    Args:
        class_logits: (..., N, K).
        objectness_logits: (..., N).

    Returns:
        (..., N, K), in [0, 1].
    """
    return (class_logits.sigmoid() * objectness_logits.sigmoid()[..., None]).sqrt()


def select_instances(
    scores: torch.Tensor,
    quality: torch.Tensor | None,
    *,
    score_threshold: float,
    max_detections: int,
    labels: str = "best",
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Choose what to report, best first.

    Args:
        scores: (N, K), class scores of each query or track.
        quality: (N,), factor on the scores of each, or None. Where it is 0 nothing is reported.
        score_threshold: class scores (without ``quality``) must be above it.
        max_detections: number of results at most.
        labels: "best" gives each query its best class only, "all" every class.

    Returns:
        Query numbers, labels (both int64) and scores, all of length n.

    Raises:
        ValueError: if ``labels`` is unknown.
    """
    check_option("TEST.TRACKING.LABELS_PER_TRACK", labels, LABEL_RULES)
    if labels == "best":
        values, classes = scores.max(dim=1)
        queries = torch.arange(len(scores), device=scores.device)
    else:
        values = scores.flatten()
        queries, classes = torch.meshgrid(
            *(torch.arange(size, device=scores.device) for size in scores.shape), indexing="ij"
        )
        queries, classes = queries.flatten(), classes.flatten()
    keep = values > score_threshold
    if quality is not None:
        values = values * quality[queries]
        keep = keep & (values > 0)
    values, queries, classes = values[keep], queries[keep], classes[keep]
    order = values.argsort(descending=True, stable=True)[:max_detections]
    return queries[order], classes[order], values[order]


def read_masks(mask_logits: torch.Tensor, threshold: float, mask_paste: str) -> MaskSource:
    """Masks from their logits at stride 8.

    Args:
        mask_logits: (N, h, w), at stride 8 of the padded input.
        threshold: mask probability above which a pixel belongs to a mask.
        mask_paste: one of ``MASK_PASTES``.

    Returns:
        The source of their quality and of their pixels, which are made when they are asked for.

    Raises:
        ValueError: if ``mask_paste`` is unknown.
    """
    check_option("TEST.MASK_PASTE", mask_paste, _MASK_SOURCES)
    return _MASK_SOURCES[mask_paste](mask_logits, threshold)


def predict_instances(
    scores: torch.Tensor,
    mask_logits: torch.Tensor,
    image_size: tuple[int, int],
    output_size: tuple[int, int],
    *,
    score_threshold: float,
    mask_threshold: float,
    mask_rescore: bool,
    max_detections: int,
    mask_paste: str = "box",
) -> Instances:
    """From the network's outputs for one image to its instances.

    Args:
        scores: (N, K), see :func:`instance_scores`.
        mask_logits: (N, h, w), at stride 8 of the padded input.
        image_size: (H, W) of the image inside the padded input.
        output_size: (H, W) of the original image.
        score_threshold: class scores must be above it.
        mask_threshold: mask probability above which a pixel belongs to the instance.
        mask_rescore: multiply scores by the maskness.
        max_detections: results at most.
        mask_paste: one of ``MASK_PASTES``.

    Returns:
        Instances of the original size, best first, as :func:`to_instances` packs them. Masks
        without a pixel at that size are left out.

    Raises:
        ValueError: if ``mask_paste`` is unknown.
    """
    candidates = (scores.amax(1) > score_threshold).nonzero()[:, 0]
    masks = read_masks(mask_logits[candidates], mask_threshold, mask_paste)
    queries, labels, values = select_instances(
        scores[candidates],
        masks.quality() if mask_rescore else None,
        score_threshold=score_threshold,
        max_detections=max_detections,
    )
    pasted = masks.paste(queries, image_size, output_size)
    return to_instances(pasted, labels[pasted.shown], values[pasted.shown])


@dataclass(frozen=True)
class PostProcessing:
    """From the network's outputs for an image to its instances.

    Attributes:
        score_threshold: class scores must be above it.
        mask_threshold: mask probability above which a pixel belongs to the instance.
        mask_rescore: multiply scores by the maskness.
        max_detections: results per image at most.
        mask_paste: one of ``MASK_PASTES``.
    """

    score_threshold: float = 0.005
    mask_threshold: float = 0.45
    mask_rescore: bool = True
    max_detections: int = 100
    mask_paste: str = "box"

    @classmethod
    def from_config(cls, cfg: CfgNode) -> "PostProcessing":
        """The thresholds of ``cfg.TEST``."""
        return cls(
            score_threshold=cfg.TEST.SCORE_THRESHOLD,
            mask_threshold=cfg.TEST.MASK_THRESHOLD,
            mask_rescore=cfg.TEST.MASK_RESCORE,
            max_detections=cfg.TEST.DETECTIONS_PER_IMAGE,
            mask_paste=cfg.TEST.MASK_PASTE,
        )

    def __call__(
        self,
        scores: torch.Tensor,
        mask_logits: torch.Tensor,
        image_size: tuple[int, int],
        output_size: tuple[int, int],
    ) -> Instances:
        """Choose the instances of an image and make their masks, see :func:`predict_instances`."""
        return predict_instances(
            scores, mask_logits, image_size, output_size, **dataclasses.asdict(self)
        )


def to_instances(
    pasted: PastedMasks, labels: torch.Tensor, scores: torch.Tensor, **fields: object
) -> Instances:
    """Pack results in Detectron2's form.

    Args:
        pasted: n masks in images of size (H, W).
        labels: (n,), int64.
        scores: (n,).
        **fields: further fields, each of length n.

    Returns:
        ``pred_masks`` (n, H, W) bool, ``pred_classes``, ``scores``, ``pred_boxes`` (tight around
        the masks) and the further fields, of image size (H, W).
    """
    return Instances(
        tuple(pasted.masks.shape[1:]),
        pred_masks=pasted.masks,
        pred_classes=labels,
        scores=scores,
        pred_boxes=Boxes(pasted.boxes),
        **fields,
    )
