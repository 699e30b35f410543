"""Augmentations from the config, the same for images and for clips."""

from detectron2.config import CfgNode
from detectron2.data import detection_utils
from detectron2.data import transforms as T

__all__ = ["build_color_augmentations", "build_geometric_augmentations"]

# Names used by the Mask2Former family, where "by clip" had to be said; here a clip always
# shares its geometric transform.
_SAMPLE_STYLES = {"choice_by_clip": "choice", "range_by_clip": "range"}
_FLIPS = {"flip_by_clip": "horizontal"}


def build_geometric_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Crop, resize and flip as Detectron2 builds them from ``INPUT``.

    Args:
        cfg: the config.
        is_train: whether for training; in testing there is the resize only.

    Returns:
        augmentations in the order in which to apply them.
    """
    cfg = cfg.clone()
    cfg.defrost()
    style, flip = cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING, cfg.INPUT.RANDOM_FLIP
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = _SAMPLE_STYLES.get(style, style)
    cfg.INPUT.RANDOM_FLIP = _FLIPS.get(flip, flip)
    augmentations = detection_utils.build_augmentation(cfg, is_train)
    if is_train and cfg.INPUT.CROP.ENABLED:
        augmentations.insert(0, T.RandomCrop(cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE))
    return augmentations


def build_color_augmentations(cfg: CfgNode, is_train: bool) -> list[T.Augmentation]:
    """Random brightness, contrast and saturation within ``INPUT.COLOR_JITTER``.

    They are apart from the geometric ones since their transforms hold parts of the image they
    were drawn for, so they must never be applied to another frame.

    Args:
        cfg: the config.
        is_train: whether for training; in testing there are none.

    Returns:
        augmentations in the order in which to apply them.

    Raises:
        ValueError: if ``INPUT.COLOR_JITTER`` is not in [0, 1).
    """
    jitter = cfg.INPUT.COLOR_JITTER
    if not 0 <= jitter < 1:
        raise ValueError(f"INPUT.COLOR_JITTER must be in [0, 1), got {jitter}")
    if not is_train or jitter == 0:
        return []
    kinds = (T.RandomBrightness, T.RandomContrast, T.RandomSaturation)
    return [kind(1 - jitter, 1 + jitter) for kind in kinds]
