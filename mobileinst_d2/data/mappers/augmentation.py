"""Augmentations from the config, the same for images and for clips."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data import transforms as T
from detectron2.projects.point_rend import ColorAugSSDTransform
from PIL import Image

from mobileinst_core.errors import ConfigError

from ...utils.resizing import ResizeShortestEdge, ResizeTransform, build_test_augmentations
from .samples import to_tensor, transform_masks

__all__ = [
    "ClipAugmentation",
    "build_augmentations",
    "build_color_augmentations",
    "build_geometric_augmentations",
]

# Names used by the Mask2Former family, where "by clip" had to be said; here a clip always
# shares its geometric transform.
_SAMPLE_STYLES = {"choice_by_clip": "choice", "range_by_clip": "range"}
_FLIPS = {"flip_by_clip": "horizontal"}
# Short sides to which DETR resizes an image before it crops.
_DETR_SIZES = (400, 500, 600)
_SHARES = "shares of height and width, above 0 and up to 1"
_SIDES = "the smallest and the largest side of a crop in pixels, such as (384, 600)"
# Kinds of crops, and what their size is.
_CROPS = {
    "relative_range": _SHARES,
    "relative": _SHARES,
    "absolute": "height and width of a crop in pixels",
    "absolute_range": _SIDES,
    "detr": _SIDES,
}
# Draws of the transforms after the first, if a crop has removed every object from every frame.
_REDRAWS = 3


def build_augmentations(cfg: CfgNode, is_train: bool) -> dict[str, Any]:
    """The arguments of a mapper that say in which channels and how images come to the network."""
    return {
        "image_format": cfg.INPUT.FORMAT,
        "augmentations": build_geometric_augmentations(cfg, is_train),
        "color_augmentations": build_color_augmentations(cfg, is_train),
    }


def build_geometric_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Crop, resize and flip as Detectron2 builds them from ``INPUT``, and zooming out before.

    ``INPUT.CROP.TYPE`` may also be "detr", with the smallest and the largest side as ``SIZE``.

    Args:
        cfg: the config.
        is_train: whether for training; in testing there is the resize only.

    Returns:
        augmentations in the order in which to apply them.

    Raises:
        ConfigError: if ``INPUT.MIN_SIZE_TRAIN`` does not fit ``INPUT.MIN_SIZE_TRAIN_SAMPLING``, or
            ``INPUT.CROP.SIZE`` its type, or a flip or a crop is unknown.
        ValueError: if ``INPUT.FIXED_SIZE_TEST`` is no size, or ``INPUT.ZOOM_OUT`` is below 1.
    """
    if not is_train:
        return build_test_augmentations(cfg)
    cfg = cfg.clone()
    cfg.defrost()
    style, flip = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING, cfg.INPUT.RANDOM_FLIP
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = style = _SAMPLE_STYLES.get(style, style)
    _check_sizes(cfg.INPUT.MIN_SIZE_TRAIN, style)
    cfg.INPUT.RANDOM_FLIP = flip = _FLIPS.get(flip, flip)
    if flip not in ("none", "horizontal", "vertical"):
        raise ConfigError(f"INPUT.RANDOM_FLIP is {flip!r}: choose none, horizontal or vertical")
    augmentations = ResizeShortestEdge.replace_in(detection_utils.build_augmentation(cfg, is_train))
    if cfg.INPUT.CROP.ENABLED:
        augmentations.insert(0, _build_crop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
    if cfg.INPUT.ZOOM_OUT < 1:
        raise ValueError(f"INPUT.ZOOM_OUT must be 1 at least, got {cfg.INPUT.ZOOM_OUT}")
    if cfg.INPUT.ZOOM_OUT != 1:
        background = float(np.mean(cfg.MODEL.PIXEL_MEAN))
        augmentations.insert(0, T.RandomApply(RandomZoomOut(cfg.INPUT.ZOOM_OUT, background)))
    return augmentations


def _build_crop(kind: str, size: Sequence[float]) -> T.Augmentation:
    """Detectron2's crop of every image, or "detr": of half of them.

    It is the one of DETR, SparseInst and FastInst. Sides of the crop are between the two numbers
    of ``size``, or the image's where that is smaller.
    """
    if kind not in _CROPS:
        raise ConfigError(f"INPUT.CROP.TYPE is {kind!r}: choose one of {', '.join(_CROPS)}")
    low, high = (0, 1) if kind.startswith("relative") else (1, math.inf)
    is_range = kind in ("detr", "absolute_range")
    if (
        len(size) != 2
        or not all(low <= side <= high and side for side in size)
        or (is_range and size[0] > size[1])
    ):
        raise ConfigError(
            f"INPUT.CROP.SIZE must be {_CROPS[kind]}, where INPUT.CROP.TYPE is {kind!r}; "
            f"got {tuple(size)}"
        )
    if kind != "detr":
        return T.RandomCrop(kind, size)
    resize = ResizeShortestEdge(_DETR_SIZES, sample_style="choice")
    return T.RandomApply(T.AugmentationList([resize, T.RandomCrop("absolute_range", size)]))


def _check_sizes(sizes: Sequence[int], style: str) -> None:
    """Detectron2 only asserts it."""
    if style not in ("choice", "range"):
        raise ConfigError(
            f"INPUT.MIN_SIZE_TRAIN_SAMPLING must be 'choice' or 'range', not {style!r}"
        )
    if style == "range" and len(sizes) != 2:
        raise ConfigError(
            "INPUT.MIN_SIZE_TRAIN_SAMPLING 'range' needs the smallest and the largest size in "
            f"INPUT.MIN_SIZE_TRAIN, not {tuple(sizes)}; 'choice' takes any number of sizes"
        )


class RandomZoomOut(T.Augmentation):
    """Makes an image smaller and puts it anywhere in a plain frame of the image's own size.

    It is SSD's expansion, for more small objects. The public codes make the frame larger and leave
    the rest to a resize to the network's input; this costs less memory.
    """

    def __init__(self, max_ratio: float, background: float) -> None:
        """Keep the range.

        Args:
            max_ratio: largest side of the frame over that of the image in it; 1 at least.
            background: value of the frame, in [0, 255].
        """
        self.max_ratio = max_ratio
        self.background = background

    def get_transform(self, image: np.ndarray) -> T.Transform:
        """The zoom of one image, (h, w, 3)."""
        height, width = image.shape[:2]
        ratio = np.random.uniform(1, self.max_ratio)
        inner = max(1, int(height / ratio)), max(1, int(width / ratio))
        top, left = (
            np.random.randint(side - small + 1)
            for side, small in zip((height, width), inner, strict=True)
        )
        frame = (left, top, width - left - inner[1], height - top - inner[0])
        return T.TransformList(
            [
                ResizeTransform(height, width, *inner, Image.BILINEAR),
                T.PadTransform(*frame, *inner[::-1], pad_value=self.background),
            ]
        )


def build_color_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Random brightness, contrast and saturation within ``INPUT.COLOR_JITTER``, and SSD's colours.

    ``INPUT.COLOR_AUG_SSD`` turns those on: brightness by up to 32, contrast and saturation by 0.5
    to 1.5, hue by up to 36 degrees, each of half of the images. In testing there are none.

    They are apart from the geometric ones since their transforms hold parts of the image they
    were drawn for, so they must never be applied to another frame.

    Raises:
        ValueError: if ``INPUT.COLOR_JITTER`` is not in [0, 1).
    """
    jitter = cfg.INPUT.COLOR_JITTER
    if not 0 <= jitter < 1:
        raise ValueError(f"INPUT.COLOR_JITTER must be in [0, 1), got {jitter}")
    if not is_train:
        return []
    kinds = (T.RandomBrightness, T.RandomContrast, T.RandomSaturation) if jitter else ()
    augmentations = [kind(1 - jitter, 1 + jitter) for kind in kinds]
    if cfg.INPUT.COLOR_AUG_SSD:
        augmentations.append(ColorAugSSDTransform(cfg.INPUT.FORMAT))
    return augmentations


class ClipAugmentation:
    """Augments the frames of a clip together.

    The geometric transform is drawn on the first frame and applied to all, colours vary per frame.
    If no object is left in any frame, all is drawn again up to three times.
    """

    def __init__(
        self,
        geometric: Sequence[T.Augmentation | T.Transform],
        color: Sequence[T.Augmentation] = (),
    ) -> None:
        """Keep the augmentations.

        Args:
            geometric: those of image and masks, in order.
            color: those of the image only, applied after them.
        """
        self.geometric = T.AugmentationList(geometric)
        self.color = T.AugmentationList(color)

    def __repr__(self) -> str:
        """All of them, for the log."""
        return repr(T.AugmentationList([*self.geometric.augs, *self.color.augs]))

    def __call__(
        self,
        images: Sequence[np.ndarray],
        masks: Sequence[Sequence[np.ndarray | None]],
        draw_motion: Callable[[], Sequence[T.Transform]] | None = None,
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        """Draw and apply.

        Args:
            images: F images of equal size, (H, W, 3) uint8.
            masks: per frame the N masks of the same objects, (H, W) uint8, or None.
            draw_motion: draws one transform per frame, which comes before the geometric one;
                after it the frames must be of equal size again.

        Returns:
            F images (3, H', W') uint8, and per frame the masks, (N, H', W') bool.
        """
        for _ in range(1 + _REDRAWS):
            motion = draw_motion() if draw_motion else [T.NoOpTransform()] * len(images)
            first = T.AugInput(motion[0].apply_image(images[0]))
            shared = self.geometric(first)
            transforms = [T.TransformList([moved, shared]) for moved in motion]
            size = first.image.shape[:2]
            transformed = [
                transform_masks(frame_masks, transform, output_size=size)
                for frame_masks, transform in zip(masks, transforms, strict=True)
            ]
            if not masks[0] or any(frame_masks.any() for frame_masks in transformed):
                break
        others = [t.apply_image(i) for t, i in zip(transforms[1:], images[1:], strict=True)]
        return [to_tensor(self._jitter(image)) for image in (first.image, *others)], transformed

    def _jitter(self, image: np.ndarray) -> np.ndarray:
        augmented = T.AugInput(image)
        self.color(augmented)
        return augmented.image
