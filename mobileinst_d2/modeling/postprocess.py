"""From network outputs to instances: the formulas that images, videos and streams share."""

import torch
from detectron2.structures import BitMasks, Instances

from .layers import bilinear_resize
from .options import check_option

__all__ = [
    "LABEL_RULES",
    "MASK_FEATURE_STRIDE",
    "instance_scores",
    "mask_product",
    "maskness",
    "paste_masks",
    "select_instances",
    "to_instances",
    "upsample_mask_logits",
]

# Stride of the mask features; the mask logits have half of it.
MASK_FEATURE_STRIDE = 8
_LOGIT_UPSAMPLING = 2

LABEL_RULES = ("best", "all")


def mask_product(kernels: torch.Tensor, mask_features: torch.Tensor) -> torch.Tensor:
    """``M = K . X_mask`` (paper, eq. 1).

    Args:
        kernels: (B, N, D).
        mask_features: (B, D, h, w), stride 8.

    Returns:
        (B, N, h, w), mask logits at stride 8.
    """
    return (kernels @ mask_features.flatten(2)).unflatten(2, mask_features.shape[-2:])


def upsample_mask_logits(logits: torch.Tensor) -> torch.Tensor:
    """Mask logits (B, N, h, w) at stride 8 to (B, N, 2h, 2w) at stride 4."""
    height, width = logits.shape[-2:]
    return bilinear_resize(logits, (height * _LOGIT_UPSAMPLING, width * _LOGIT_UPSAMPLING))


def instance_scores(class_logits: torch.Tensor, objectness_logits: torch.Tensor) -> torch.Tensor:
    """``sqrt(class probability * objectness)`` (SparseInst, section 3.3).

    Args:
        class_logits: (..., N, K).
        objectness_logits: (..., N).

    Returns:
        (..., N, K), in [0, 1].
    """
    return (class_logits.sigmoid() * objectness_logits.sigmoid()[..., None]).sqrt()


def maskness(mask_probs: torch.Tensor, threshold: float) -> torch.Tensor:
    """Mean probability of the foreground of each mask; 0 for masks without foreground.

    Args:
        mask_probs: (N, h, w), in [0, 1].
        threshold: foreground is above it.

    Returns:
        (N,), float32, 0 or in (threshold, 1].
    """
    # NaN is not above the threshold. Half precision cannot hold the area of a large mask.
    foreground = mask_probs > threshold
    total = torch.where(foreground, mask_probs, 0.0).sum((1, 2), dtype=torch.float32)
    return total / (foreground.sum((1, 2)) + 1e-6)


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


def paste_masks(
    mask_logits: torch.Tensor,
    image_size: tuple[int, int],
    output_size: tuple[int, int],
    threshold: float,
) -> torch.Tensor:
    """Binary masks in the original image.

    Probabilities are resized to the padded input, cropped to the image and resized to the
    original size.

    Args:
        mask_logits: (n, h, w), at stride 4 of the padded input.
        image_size: (H, W) of the image inside the padded input.
        output_size: (H, W) of the original image.
        threshold: mask probability above which a pixel belongs to the instance.

    Returns:
        (n, *output_size), bool.
    """
    if len(mask_logits) == 0:
        return torch.zeros((0, *output_size), dtype=torch.bool, device=mask_logits.device)
    stride = MASK_FEATURE_STRIDE // _LOGIT_UPSAMPLING
    padded_size = (mask_logits.shape[1] * stride, mask_logits.shape[2] * stride)
    probs = bilinear_resize(mask_logits.sigmoid()[None], padded_size)
    probs = probs[:, :, : image_size[0], : image_size[1]]
    return bilinear_resize(probs, output_size)[0] > threshold


def to_instances(
    masks: torch.Tensor, labels: torch.Tensor, scores: torch.Tensor, **fields: object
) -> Instances:
    """Pack results in Detectron2's form.

    Args:
        masks: (n, H, W), bool.
        labels: (n,), int64.
        scores: (n,).
        **fields: further fields, each of length n.

    Returns:
        ``pred_masks``, ``pred_classes``, ``scores``, ``pred_boxes`` (tight around the masks) and
        the further fields, of image size (H, W).
    """
    boxes = BitMasks(masks).get_bounding_boxes().to(masks.device)
    return Instances(
        tuple(masks.shape[1:]),
        pred_masks=masks,
        pred_classes=labels,
        scores=scores,
        pred_boxes=boxes,
        **fields,
    )
