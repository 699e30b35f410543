"""From the outputs of a network to instances: the rules that images, videos and streams share."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .arrays import SMALL_PRODUCT, one_blas_thread
from .detections import Detections
from .errors import ConfigError
from .masks.box_masks import BoxMasks
from .options import check_option

__all__ = [
    "LABEL_RULES",
    "PROCEDURES",
    "PostProcessing",
    "Selection",
    "check_thresholds",
    "mask_product",
]

# Columns below which many small products take longer than a large one, and of which parts are
# multiples.
_MIN_COLUMNS, _ALIGNMENT = 1024, 16

LABEL_RULES = ("best", "all")
PROCEDURES = ("sparseinst", "mask2former")


def check_thresholds(max_detections: int, **thresholds: float) -> None:
    """ConfigError if nothing would be found: less than one result, or what is no probability."""
    for name, value in thresholds.items():
        if not 0 <= value <= 1:
            raise ConfigError(f"{name}_threshold is {value}, it must be between 0 and 1")
    if max_detections < 1:
        raise ConfigError(f"max_detections is {max_detections}, it must be at least 1")


class Selection(NamedTuple):
    """What is to be reported, best first.

    Attributes:
        queries: (n,) int64, numbers of queries or tracks.
        classes: (n,) int64.
        scores: (n,).
    """

    queries: np.ndarray
    classes: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, kw_only=True)
class PostProcessing:
    """What of a network's outputs is reported.

    The procedure "sparseinst" gives each query its best class and a score with the mask score, of
    which the best are taken; probabilities are resized to the image. "mask2former" takes the best
    pairs of query and class, and then scores them with the mask score in the image, to whose size
    the logits are resized. MobileInst and SparseInst are evaluated in the first way, Mask2Former
    and FastInst in the second.

    Attributes:
        score_threshold: class scores must be above it.
        mask_threshold: mask probability above which a pixel belongs to an instance.
        mask_rescore: multiply scores by the mask score, the mean probability of the foreground.
        max_detections: results at most.
        procedure: "sparseinst" or "mask2former", see above.
    """

    score_threshold: float = 0.005
    mask_threshold: float = 0.45
    mask_rescore: bool = True
    max_detections: int = 100
    procedure: str = "sparseinst"

    def __post_init__(self) -> None:
        """Refuse unknown procedures, and values with which nothing would be found."""
        check_option("procedure", self.procedure, PROCEDURES)
        check_thresholds(self.max_detections, score=self.score_threshold, mask=self.mask_threshold)

    def masks(self, mask_logits: np.ndarray, *, stride: int, upsampling: int = 1) -> BoxMasks:
        """The masks of logits (N, h, w), see :class:`BoxMasks`."""
        return BoxMasks(
            mask_logits,
            self.mask_threshold,
            stride=stride,
            upsampling=upsampling,
            resize_logits=self.procedure == "mask2former",
        )

    def select(
        self, scores: np.ndarray, quality: np.ndarray | None, *, labels: str = "best"
    ) -> Selection:
        """Choose what to report.

        Args:
            scores: (N, K), class scores of each query or track; NaN is never chosen.
            quality: (N,), the mask score of each; None = it does not count. Where it is 0 nothing
                is reported.
            labels: "best" gives each query its best class only, "all" every class.

        Returns:
            At most ``max_detections``.

        Raises:
            ValueError: if ``labels`` is unknown.
        """
        check_option("labels", labels, LABEL_RULES)
        if labels == "best":
            queries, classes = np.arange(len(scores)), scores.argmax(axis=1)
        else:
            queries, classes = (x.ravel() for x in np.indices(scores.shape))
        values = scores[queries, classes]
        keep = values > self.score_threshold
        if quality is not None:
            values = values * quality[queries]
            keep &= values > 0
        chosen = np.flatnonzero(keep)
        chosen = chosen[np.argsort(-values[chosen], kind="stable")[: self.max_detections]]
        return Selection(queries[chosen], classes[chosen], values[chosen])

    def predict(
        self,
        scores: np.ndarray,
        mask_logits: np.ndarray,
        *,
        image_size: tuple[int, int],
        output_size: tuple[int, int],
        mask_stride: int,
        mask_upsampling: int = 1,
        encode: bool = False,
    ) -> Detections:
        """From the network's outputs for one image to its instances.

        Args:
            scores: (N, K), in [0, 1].
            mask_logits: (N, h, w), of the padded input.
            image_size: (H, W) of the image inside the padded input.
            output_size: (H, W) of the original image.
            mask_stride: pixels of the padded input per pixel of the logits.
            mask_upsampling: factor by which the logits are resized before the sigmoid.
            encode: give the RLEs of the masks, without making the masks.

        Returns:
            Instances of the original size. Masks without a pixel at that size are left out.
        """
        sizes = {"stride": mask_stride, "upsampling": mask_upsampling}
        if self.procedure == "mask2former":
            return self._predict_pairs(
                scores, mask_logits, image_size, output_size, sizes, encode=encode
            )
        candidates = np.flatnonzero((scores > self.score_threshold).any(axis=1))
        masks = self.masks(mask_logits[candidates], **sizes)
        quality = masks.quality() if self.mask_rescore else None
        selection = self.select(scores[candidates], quality)
        pasted = masks.paste(selection.queries, image_size, output_size, encode=encode)
        return Detections(
            masks=pasted.masks,
            boxes=pasted.boxes,
            scores=selection.scores[pasted.shown],
            classes=selection.classes[pasted.shown],
            image_size=output_size,
        )

    def _predict_pairs(
        self,
        scores: np.ndarray,
        mask_logits: np.ndarray,
        image_size: tuple[int, int],
        output_size: tuple[int, int],
        sizes: dict[str, int],
        *,
        encode: bool,
    ) -> Detections:
        """Choose pairs of query and class first, as Mask2Former does."""
        selection = self.select(scores, None, labels="all")
        queries, number = np.unique(selection.queries, return_inverse=True)
        masks = self.masks(mask_logits[queries], **sizes)
        pasted = masks.paste(
            np.arange(len(queries)),
            image_size,
            output_size,
            with_quality=self.mask_rescore,
            encode=encode,
        )
        place = np.full(len(queries), -1)
        place[pasted.shown] = np.arange(len(pasted.shown))
        place = place[number]
        is_shown = place >= 0
        place, values = place[is_shown], selection.scores[is_shown]
        values = values * pasted.quality[place]
        order = np.argsort(-values, kind="stable")
        place = place[order]
        return Detections(
            masks=[pasted.masks[i] for i in place] if encode else pasted.masks[place],
            boxes=pasted.boxes[place],
            scores=values[order],
            classes=selection.classes[is_shown][order],
            image_size=output_size,
        )


@one_blas_thread
def mask_product(kernels: np.ndarray, mask_features: np.ndarray) -> np.ndarray:
    """``M = K . X_mask`` (MobileInst, eq. 1).

    Args:
        kernels: (N, D).
        mask_features: (D, h, w).

    Returns:
        (N, h, w), mask logits.
    """
    channels, height, width = mask_features.shape
    features = mask_features.reshape(channels, -1)
    columns = SMALL_PRODUCT // max(kernels.size, 1) // _ALIGNMENT * _ALIGNMENT
    if len(kernels) == 1 or columns < _MIN_COLUMNS:
        return (kernels @ features).reshape(-1, height, width)
    # A copy of the mask features takes longer than their product with a few kernels.
    logits = np.empty((len(kernels), height * width), np.float32)
    for start in range(0, height * width, columns):
        part = np.s_[:, start : start + columns]
        np.matmul(kernels, features[part], out=logits[part])
    return logits.reshape(-1, height, width)
