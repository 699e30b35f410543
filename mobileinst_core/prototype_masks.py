"""From scored boxes to instances whose masks are mixed from prototypes: what YOLACT reports.

Boxes here are fractions of the image, as the image is stretched to the input whatever its shape.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .detections import Detections, MaskCrop, MaskCrops
from .masks.box_masks import BoxMasks
from .postprocessing import check_thresholds, mask_product

__all__ = ["CROP_PADDING", "PrototypePostProcessing", "fast_nms"]

# Pixels of the prototypes around a box that belong to its mask too.
CROP_PADDING = 1
# Logits outside of a box: their probability is 0, and no sum of them leaves the range of numbers.
_OUTSIDE = np.float32(-1e4)


class Kept(NamedTuple):
    """What suppression leaves, best first.

    Attributes:
        boxes: (n,) int64, numbers of the boxes; one box may be there under several classes.
        classes: (n,) int64.
        scores: (n,).
    """

    boxes: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, kw_only=True)
class PrototypePostProcessing:
    """What of the boxes is reported.

    Attributes:
        score_threshold: the best class score of a box must be above it.
        mask_threshold: mask probability above which a pixel belongs to an instance.
        mask_rescore: multiply scores by the mask score, the mean probability of the foreground.
        max_detections: results at most.
        nms_threshold: overlap (IoU) with a better box of its class above which a box is dropped.
        nms_candidates: boxes of a class at most that take part.
    """

    score_threshold: float = 0.05
    mask_threshold: float = 0.5
    mask_rescore: bool = False
    max_detections: int = 100
    nms_threshold: float = 0.5
    nms_candidates: int = 200

    def __post_init__(self) -> None:
        """Refuse values with which nothing would be found."""
        check_thresholds(
            self.max_detections,
            score=self.score_threshold,
            mask=self.mask_threshold,
            nms=self.nms_threshold,
        )

    def predict(
        self,
        scores: np.ndarray,
        boxes: np.ndarray,
        coefficients: np.ndarray,
        prototypes: np.ndarray,
        *,
        output_size: tuple[int, int],
    ) -> Detections:
        """From the network's outputs for one image to its instances.

        Args:
            scores: (A, K), in [0, 1].
            boxes: (A, 4), x0, y0, x1, y1.
            coefficients: (A, D), factors of the prototypes.
            prototypes: (D, h, w), of the whole image.
            output_size: (H, W) of the original image.

        Returns:
            Instances of the original size. Their boxes are those that the network predicts, cut to
            the image, in which they all have a part; a mask may be empty.
        """
        candidates = np.flatnonzero(scores.max(axis=1, initial=0) > self.score_threshold)
        boxes = boxes[candidates]
        kept = fast_nms(
            scores[candidates],
            boxes,
            threshold=self.nms_threshold,
            candidates=self.nms_candidates,
            max_detections=self.max_detections,
        )
        pixels = _to_pixels(boxes[kept.boxes], output_size)
        visible = (pixels[:, 2:] > pixels[:, :2]).all(axis=1)
        rows, classes, values = (x[visible] for x in kept)
        logits = mask_product(coefficients[candidates[rows]], prototypes)
        masks = BoxMasks(_crop(logits, boxes[rows]), self.mask_threshold, stride=1)
        pasted = masks.paste(np.arange(len(rows)), prototypes.shape[1:], output_size)
        crops = [MaskCrop(0, 0, np.zeros((0, 0), bool))] * len(rows)
        for number, crop in zip(pasted.shown.tolist(), pasted.masks, strict=True):
            crops[number] = crop
        detections = Detections(
            masks=MaskCrops(crops, output_size),
            boxes=pixels[visible],
            scores=values,
            classes=classes,
        )
        if not self.mask_rescore:
            return detections
        detections.scores = values * masks.quality()
        return detections[np.argsort(-detections.scores, kind="stable")]


def fast_nms(
    scores: np.ndarray,
    boxes: np.ndarray,
    *,
    threshold: float,
    candidates: int,
    max_detections: int,
) -> Kept:
    """Suppress boxes that overlap a better one of their class (Fast NMS, YOLACT, section 4).

    Unlike in the usual suppression, a box that is dropped itself drops others.

    Args:
        scores: (A, K), of each box for each class.
        boxes: (A, 4), x0, y0, x1, y1.
        threshold: overlap (IoU) above which a box is dropped.
        candidates: boxes of a class at most that take part, best first.
        max_detections: results at most, over all classes.

    Returns:
        The results.
    """
    num_classes = scores.shape[1]
    flat = scores.ravel()
    # What is left of the best depends on the best alone, so that few need a look.
    count = 8 * max_detections
    while True:
        count = min(count, flat.size)
        best = np.argpartition(-flat, count - 1)[:count] if count < flat.size else None
        best = np.sort(best) if best is not None else np.arange(flat.size)
        best = best[np.argsort(-flat[best], kind="stable")]
        kept = best[_not_suppressed(best, boxes, num_classes, threshold, candidates)]
        if len(kept) >= max_detections or count == flat.size:
            break
        count *= 8
    kept = kept[:max_detections]
    return Kept(kept // num_classes, kept % num_classes, flat[kept])


def _not_suppressed(
    order: np.ndarray, boxes: np.ndarray, num_classes: int, threshold: float, candidates: int
) -> np.ndarray:
    """Which of (box, class) pairs stay, given as box * num_classes + class, best first."""
    numbers, classes = np.divmod(order, num_classes)
    keep = np.zeros(len(order), dtype=bool)
    for name in np.unique(classes):
        places = np.flatnonzero(classes == name)[:candidates]
        overlaps = np.triu(_pairwise_iou(boxes[numbers[places]]), k=1)
        keep[places] = overlaps.max(axis=0, initial=0) <= threshold
    return keep


def _pairwise_iou(boxes: np.ndarray) -> np.ndarray:
    """Intersection over union (N, N) of all pairs of boxes (N, 4); 0 where both are empty."""
    low = np.maximum(boxes[:, None, :2], boxes[:, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[:, 2:])
    common = (high - low).clip(min=0).prod(axis=2)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)
    union = areas[:, None] + areas - common
    return np.divide(common, union, out=np.zeros_like(common), where=union > 0)


def _to_pixels(boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Boxes (n, 4) in pixels of an image (H, W), cut to it."""
    height, width = size
    sides = np.array([width, height, width, height], dtype=np.float32)
    return (boxes * sides).clip(0, sides)


def _crop(logits: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """Mask logits (n, h, w) with nothing outside of the boxes (n, 4) and the padding around."""
    height, width = logits.shape[1:]
    x0, y0, x1, y1 = (boxes * np.array([width, height, width, height], np.float32)).T[..., None]
    rows, columns = np.arange(height), np.arange(width)
    in_rows = (rows >= y0 - CROP_PADDING) & (rows < y1 + CROP_PADDING)
    in_columns = (columns >= x0 - CROP_PADDING) & (columns < x1 + CROP_PADDING)
    return np.where(in_rows[:, :, None] & in_columns[:, None, :], logits, _OUTSIDE)
