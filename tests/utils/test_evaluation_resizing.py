"""The size of pictures in evaluation, by their shortest side or to fit into a frame."""

import numpy as np
import pytest
from config_files import default_config

from mobileinst_d2.utils.evaluation_resizing import build_test_augmentations


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
