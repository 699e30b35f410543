"""YOLACT's losses: classes with hard negatives, boxes, masks in units of their boxes, semantics."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from mobileinst_core.prototype_masks import CROP_PADDING

from ..anchors import AnchorMatcher, AnchorTargets, encode_boxes
from ..layers import bilinear_resize
from ..targets import BoxTargets
from .set_criterion import shares_of_batch

__all__ = ["YOLACTCriterion"]

# Hard negatives per positive.
_NEGATIVES = 3
# Positives of an image whose masks are trained on at most; others count through these.
_MAX_MASKS = 100


class YOLACTCriterion(nn.Module):
    """The four losses of YOLACT (section 3 and 5)."""

    def __init__(
        self,
        *,
        class_weight: float = 1.0,
        box_weight: float = 1.5,
        mask_weight: float = 6.125,
        semantic_weight: float = 1.0,
    ) -> None:
        """Build the criterion.

        Args:
            class_weight: weight of ``loss_cls``.
            box_weight: weight of ``loss_box``.
            mask_weight: weight of ``loss_mask``.
            semantic_weight: weight of ``loss_sem``.
        """
        super().__init__()
        self.matcher = AnchorMatcher()
        self.class_weight = class_weight
        self.box_weight = box_weight
        self.mask_weight = mask_weight
        self.semantic_weight = semantic_weight

    def forward(
        self, outputs: dict[str, torch.Tensor], targets: Sequence[BoxTargets]
    ) -> dict[str, torch.Tensor]:
        """Compute the weighted losses.

        Args:
            outputs: ``anchors`` (A, 4), ``class_logits`` (B, A, K + 1), ``box_deltas`` (B, A, 4),
                ``coefficients`` (B, A, D), ``prototypes`` (B, D, h, w) and ``semantic_logits``
                (B, K, h', w').
            targets: the objects of each of the B images.

        Returns:
            Weighted scalars ``loss_cls``, ``loss_box`` and ``loss_mask``, each a sum over the
            number of positive anchors in the batch, and ``loss_sem``, the mean over images and
            pixels of a sum over classes. With several processes, the average of each is that of
            the whole batch. They are finite for images without objects, whose classes are
            trained all the same.
        """
        anchors = outputs["anchors"]
        matches = self._match(anchors, targets)
        # The one place of an image where the processor waits for what was matched.
        positives = [(match.classes > 0).nonzero()[:, 0] for match in matches]
        (normalizer,) = shares_of_batch([sum(map(len, positives))], anchors.device)
        totals = anchors.new_zeros(4)
        # Sums over pixels leave the range of half precision.
        with torch.autocast(anchors.device.type, enabled=False):
            parts = zip(matches, positives, targets, strict=True)
            for image, (match, positive, target) in enumerate(parts):
                x = {k: v[image].float() for k, v in outputs.items() if k != "anchors"}
                objects = match.objects[positive]
                code = encode_boxes(target.boxes[objects], anchors[positive])
                coefficients = x["coefficients"][positive]
                totals = totals + torch.stack(
                    (
                        _class_loss(x["class_logits"], match.classes, positive),
                        F.smooth_l1_loss(x["box_deltas"][positive], code, reduction="sum"),
                        _mask_loss(coefficients, x["prototypes"], target, objects),
                        _semantic_loss(x["semantic_logits"], target),
                    )
                )
        return {
            "loss_cls": self.class_weight * totals[0] / normalizer,
            "loss_box": self.box_weight * totals[1] / normalizer,
            "loss_mask": self.mask_weight * totals[2] / normalizer,
            "loss_sem": self.semantic_weight * totals[3] / len(targets),
        }

    def count_positives(self, anchors: torch.Tensor, targets: Sequence[BoxTargets]) -> int:
        """How many anchors (A, 4) stand for an object in some images."""
        return sum(int((match.classes > 0).sum()) for match in self._match(anchors, targets))

    def _match(self, anchors: torch.Tensor, targets: Sequence[BoxTargets]) -> list[AnchorTargets]:
        return [self.matcher(anchors, t.boxes, t.labels, t.crowd_boxes) for t in targets]


def _class_loss(
    logits: torch.Tensor, classes: torch.Tensor, positive: torch.Tensor
) -> torch.Tensor:
    """Sum of the cross-entropy over positives and the hardest negatives of an image.

    An image without positives has negatives as if it had one.

    Args:
        logits: (A, K + 1).
        classes: (A,), see :class:`AnchorTargets`.
        positive: (P,), places of the positives.
    """
    hardness = (logits.logsumexp(1) - logits[:, 0]).detach()
    hardness = hardness.masked_fill(classes != 0, -1)
    hardest = hardness.topk(min(_NEGATIVES * max(len(positive), 1), len(classes))).indices
    chosen = torch.cat((positive, hardest))
    # Where there are not as many negatives, others come last.
    counts = torch.cat((torch.ones_like(positive, dtype=torch.bool), classes[hardest] == 0))
    # Neutral ones have no class; they do not count.
    losses = F.cross_entropy(logits[chosen], classes[chosen].clamp(min=0), reduction="none")
    return (losses * counts).sum()


def _mask_loss(
    coefficients: torch.Tensor,
    prototypes: torch.Tensor,
    targets: BoxTargets,
    objects: torch.Tensor,
) -> torch.Tensor:
    """Sum over positives of the cross-entropy in the padded box, over the area of the box.

    Args:
        coefficients: (P, D) of the positives.
        prototypes: (D, h, w).
        targets: of the image.
        objects: (P,), which object each positive stands for.
    """
    count = len(objects)
    if count > _MAX_MASKS:
        chosen = torch.randperm(count, device=objects.device)[:_MAX_MASKS]
        coefficients, objects = coefficients[chosen], objects[chosen]
    size = prototypes.shape[-2:]
    logits = (coefficients @ prototypes.flatten(1)).unflatten(1, size)
    wanted = _resize_masks(targets.masks, size)[objects]
    x0, y0, x1, y1 = targets.boxes[objects].unbind(1)
    # Not a product with the sizes as a tensor, for which the processor would wait.
    boxes = torch.stack((x0 * size[1], y0 * size[0], x1 * size[1], y1 * size[0]), dim=1)
    # Logits with a weight, not probabilities that are 0 outside: finite in any precision.
    loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none")
    loss = (loss * _inside(boxes, size)).sum((1, 2)) / (boxes[:, 2:] - boxes[:, :2]).prod(1)
    return loss.sum() * (count / max(len(objects), 1))


def _inside(boxes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Which pixels (P, h, w) are in boxes (P, 4) of these pixels, with the padding around."""
    x0, y0, x1, y1 = boxes[:, :, None].unbind(1)
    rows, columns = (torch.arange(n, device=boxes.device) for n in size)
    in_rows = (rows >= y0 - CROP_PADDING) & (rows < y1 + CROP_PADDING)
    in_columns = (columns >= x0 - CROP_PADDING) & (columns < x1 + CROP_PADDING)
    return in_rows[:, :, None] & in_columns[:, None, :]


def _semantic_loss(logits: torch.Tensor, targets: BoxTargets) -> torch.Tensor:
    """Cross-entropy (K, h, w) of where each class is, a sum over classes, mean over pixels."""
    masks = _resize_masks(targets.masks, logits.shape[-2:]).flatten(1)
    members = F.one_hot(targets.labels, len(logits)).T.float()
    wanted = (members @ masks).clamp(max=1).view_as(logits)
    loss = F.binary_cross_entropy_with_logits(logits, wanted, reduction="sum")
    return loss / logits[0].numel()


def _resize_masks(masks: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Masks (M, H, W) stretched to (M, h, w), 0 or 1."""
    if len(masks) == 0:
        return masks.new_zeros((0, *size), dtype=torch.float32)
    return (bilinear_resize(masks[None].float(), size)[0] > 0.5).float()
