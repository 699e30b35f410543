"""Sizes in evaluation, and that training and evaluation resize as Detectron2 does."""

import numpy as np
import pytest
from config_files import default_config
from detectron2.data import transforms as T
from detectron2.data.detection_utils import build_augmentation

from mobileinst_d2.data.mappers.augmentation import build_geometric_augmentations
from mobileinst_d2.utils.resizing import ResizeTransform, build_test_augmentations


def resized(cfg, height, width):
    image = np.zeros((height, width, 3), np.uint8)
    for augmentation in build_test_augmentations(cfg):
        image = augmentation.get_transform(image).apply_image(image)
    return image.shape[:2]


@pytest.fixture
def cfg():
    cfg = default_config()
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 100, 150
    return cfg


def test_without_a_fixed_size_the_shortest_side_counts(cfg):
    assert resized(cfg, 50, 60) == (100, 120)
    assert resized(cfg, 50, 200) == (38, 150)


def test_a_fixed_size_is_filled_with_the_aspect_ratio_kept(cfg):
    cfg.INPUT.FIXED_SIZE_TEST = (64, 128)
    assert resized(cfg, 360, 640) == (64, 114)
    assert resized(cfg, 10, 40) == (32, 128)  # enlarged until the width fits


@pytest.mark.parametrize("size", [(640,), (640, 640, 3), (640, 0), (-64, 64), (64.0, 64), ("a", 1)])
def test_what_is_no_size_is_named(cfg, size):
    cfg.INPUT.FIXED_SIZE_TEST = size
    with pytest.raises(ValueError, match=r"INPUT\.FIXED_SIZE_TEST is \(.*height and width"):
        build_test_augmentations(cfg)


@pytest.mark.parametrize("is_train", [False, True])
@pytest.mark.parametrize("style", ["choice", "range"])
def test_images_masks_and_draws_are_those_of_detectron2(is_train, style):
    cfg = default_config()
    cfg.INPUT.MIN_SIZE_TRAIN, cfg.INPUT.MAX_SIZE_TRAIN = (20, 40), 70
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = style
    cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = 20, 70
    image = np.random.default_rng(0).integers(0, 256, (40, 64, 3), np.uint8)
    mask = (image[..., 0] > 127).astype(np.uint8)
    results = []
    for augmentations in (
        build_augmentation(cfg, is_train),
        build_geometric_augmentations(cfg, is_train),
    ):
        np.random.seed(0)
        drawn = [T.AugmentationList(augmentations)(T.AugInput(image)) for _ in range(4)]
        results.append([(t.apply_image(image), t.apply_segmentation(mask)) for t in drawn])
    assert any(isinstance(x, ResizeTransform) for x in drawn[0].transforms)
    for expected, found in zip(*results, strict=True):
        assert all(np.array_equal(x, y) for x, y in zip(expected, found, strict=True))
