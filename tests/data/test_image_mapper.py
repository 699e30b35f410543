"""Images with masks in any encoding to model inputs, and what happens to unreadable files."""

import copy
import logging
import random
import re

import cv2
import numpy as np
import pytest
import torch
from annotation_files import boxes_in, compressed, uncompressed
from detectron2.data import transforms as T
from detectron2.structures import BitMasks, BoxMode

from mobileinst_core.errors import ConfigError
from mobileinst_core.video.images import ImageReadError, ImageSizeError
from mobileinst_d2.data import ImageMapper
from mobileinst_d2.data.mappers.samples import BadRecordError

HEIGHT, WIDTH = 30, 40
box_mask = boxes_in((HEIGHT, WIDTH))


ENCODINGS = {
    "polygon": lambda x0, y0, x1, y1: [[x0, y0, x1, y0, x1, y1, x0, y1]],
    "compressed": lambda *box: compressed(box_mask(*box)),
    "uncompressed": lambda *box: uncompressed(box_mask(*box)),
}


@pytest.fixture
def record(tmp_path):
    """An image whose red channel is the row number and whose blue channel is the column number."""
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    image[..., 0] = np.arange(HEIGHT)[:, None] * 8
    image[..., 2] = np.arange(WIDTH)[None] * 6
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), image[..., ::-1])
    return {
        "file_name": str(path),
        "height": HEIGHT,
        "width": WIDTH,
        "image_id": 9,
        "annotations": [
            {"category_id": 2, "segmentation": compressed(box_mask(4, 5, 20, 25))},
            {"category_id": 0, "segmentation": compressed(box_mask(30, 2, 38, 10))},
        ],
    }


def mapper(*augmentations, is_train=True):
    return ImageMapper(is_train=is_train, image_format="RGB", augmentations=list(augmentations))


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_encoding_becomes_the_same_bitmask(record, encoding):
    box = (4, 5, 20, 25)
    record["annotations"] = [{"category_id": 1, "segmentation": ENCODINGS[encoding](*box)}]
    instances = mapper()(record)["instances"]
    assert isinstance(instances.gt_masks, BitMasks)
    np.testing.assert_array_equal(instances.gt_masks.tensor[0].numpy(), box_mask(*box))
    assert instances.gt_boxes.tensor.tolist() == [[4, 5, 20, 25]]
    assert instances.gt_classes.tolist() == [1]
    assert instances.gt_classes.dtype == torch.int64


@pytest.mark.parametrize("size", [(30, 1), (1, 30), (1, 1)])
def test_images_of_a_line_are_flipped(tmp_path, size):
    path, mask = tmp_path / "line.png", np.ones(size, np.uint8)
    column = np.arange(size[0] * size[1], dtype=np.uint8).reshape(size)
    cv2.imwrite(str(path), column)
    annotation = {"category_id": 0, "segmentation": mask}
    record = {"file_name": str(path), "image_id": 1, "annotations": [annotation]}
    result = mapper(T.RandomFlip(prob=1.0))(record)
    assert result["image"][0].tolist() == column[:, ::-1].tolist()
    assert result["instances"].gt_masks.tensor.all()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_image_and_masks_go_through_the_same_transform(record, encoding):
    box = (4, 6, 20, 24)
    record["annotations"] = [{"category_id": 1, "segmentation": ENCODINGS[encoding](*box)}]
    transforms = [T.CropTransform(2, 2, 36, 26), T.HFlipTransform(36)]
    result = mapper(*transforms, T.Resize((52, 72)))(record)
    mask = result["instances"].gt_masks.tensor[0]
    assert result["image"].shape[1:] == mask.shape == (52, 72)
    rows, columns = result["image"][0][mask] / 8, result["image"][2][mask] / 6
    assert (rows.min() - 6).abs() < 1
    assert (rows.max() - 23).abs() < 1
    assert (columns.min() - 4).abs() < 1
    assert (columns.max() - 19).abs() < 1


def test_what_training_and_testing_are_given(record, cfg):
    before = copy.deepcopy(record)
    result = mapper()(record)
    assert record == before
    assert set(result) == {"file_name", "height", "width", "image_id", "image", "instances"}
    assert (result["image"].shape, result["image"].dtype) == ((3, HEIGHT, WIDTH), torch.uint8)
    assert result["image"][0, 20, 0] == 160
    assert len(result["instances"]) == 2
    result = ImageMapper(cfg, is_train=False)(record)
    assert set(result) == {"file_name", "height", "width", "image_id", "image"}
    assert result["image"].shape == (3, 36, 48)
    assert (result["height"], result["width"]) == (HEIGHT, WIDTH)


def test_crowd_empty_and_cropped_out_objects_are_left_out(record):
    record["annotations"] += [
        {"category_id": 3, "iscrowd": 1, "segmentation": compressed(box_mask(0, 0, 9, 9))},
        {"category_id": 3, "segmentation": []},
        {"category_id": 3, "segmentation": [[1, 1, 2, 2]]},
    ]
    result = mapper(T.CropTransform(0, 0, 25, 30))(record)
    assert result["instances"].gt_classes.tolist() == [2]


def test_annotations_without_mask_are_left_out_with_a_warning(record, caplog):
    record["annotations"].append({"category_id": 1, "bbox": [0, 0, 5, 5]})
    with caplog.at_level(logging.WARNING):
        assert len(mapper()(record)["instances"]) == 2
    assert record["file_name"] in caplog.text


def test_config_keys(record, cfg):
    cfg.INPUT.MIN_SIZE_TRAIN = (20,)
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.FORMAT = "BGR"
    image = ImageMapper(cfg, is_train=True)(record)["image"]
    assert image.shape == (3, 20, 27)
    assert image[2].float().mean() > 0
    assert image[2, 0].max() < image[2, -1].min()
    cfg.INPUT.CROP.ENABLED = True
    cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = "absolute", [10, 10]
    assert ImageMapper(cfg, is_train=True)(record)["image"].shape == (3, 20, 20)


def test_names_of_the_mask2former_family_are_understood(record, cfg):
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING = "choice_by_clip"
    cfg.INPUT.RANDOM_FLIP = "flip_by_clip"
    ImageMapper(cfg, is_train=True)(record)
    assert cfg.INPUT.RANDOM_FLIP == "flip_by_clip"


@pytest.mark.parametrize(
    ("style", "sizes", "message"),
    [
        ("range", (96,), r"INPUT\.MIN_SIZE_TRAIN, not \(96,\); 'choice' takes any"),
        ("range_by_clip", (64, 80, 96), r"not \(64, 80, 96\)"),
        ("all", (96,), "MIN_SIZE_TRAIN_SAMPLING must be 'choice' or 'range', not 'all'"),
    ],
)
def test_sizes_that_do_not_fit_the_way_of_drawing_are_explained(cfg, style, sizes, message):
    cfg.INPUT.MIN_SIZE_TRAIN_SAMPLING, cfg.INPUT.MIN_SIZE_TRAIN = style, sizes
    with pytest.raises(ConfigError, match=message):
        ImageMapper(cfg, is_train=True)


def test_color_jitter_changes_colours_in_training_only(record, cfg):
    cfg.INPUT.RANDOM_FLIP = "none"
    plain = ImageMapper(cfg, is_train=True)(record)
    cfg.INPUT.COLOR_JITTER = 0.3
    np.random.seed(0)
    jittered = ImageMapper(cfg, is_train=True)(record)
    difference = (jittered["image"].float() - plain["image"].float()).abs()
    assert 0 < difference.mean() < 80
    assert torch.equal(jittered["instances"].gt_masks.tensor, plain["instances"].gt_masks.tensor)
    assert torch.equal(
        ImageMapper(cfg, is_train=False)(record)["image"],
        ImageMapper(cfg, is_train=False)(record)["image"],
    )
    cfg.INPUT.COLOR_JITTER = 1.0
    with pytest.raises(ValueError, match=r"COLOR_JITTER.*1\.0"):
        ImageMapper(cfg, is_train=True)


def test_ssds_colours_turn_the_hue_in_training_only(record, cfg):
    red = np.full((HEIGHT, WIDTH, 3), (0, 0, 200), np.uint8)
    cv2.imwrite(record["file_name"], red)
    cfg.INPUT.COLOR_AUG_SSD = True
    image = ImageMapper(cfg, is_train=False)(record)["image"]
    assert torch.equal(image.unique(), torch.tensor([0, 200], dtype=torch.uint8))
    in_rgb = ImageMapper(cfg, is_train=True)
    cfg.INPUT.FORMAT = "BGR"
    in_bgr = ImageMapper(cfg, is_train=True)
    turned = []
    for seed in range(12):
        random.seed(seed)
        image = in_rgb(record)["image"]
        random.seed(seed)
        assert torch.equal(in_bgr(record)["image"], image.flip(0))
        # No other change of colours makes green and blue differ in a red image.
        turned.append(not torch.equal(image[1], image[2]))
    assert 2 < sum(turned) < 10


def test_unreadable_images_raise_in_testing_and_are_passed_over_in_training(
    record, tmp_path, caplog
):
    record["file_name"] = str(tmp_path / "broken.jpg")
    (tmp_path / "broken.jpg").write_text("not an image")
    with pytest.raises(ImageReadError, match=r"broken\.jpg"):
        mapper(is_train=False)(record)
    train = mapper()
    assert train(record) is None
    assert train(record) is None
    assert sum("broken.jpg" in message for message in caplog.messages) == 1


SMALL = {"category_id": 2, "segmentation": compressed(np.ones((5, 5), np.uint8))}


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"file_name": "/nowhere/x.jpg"}, ImageReadError, "/nowhere/x.jpg"),
        ({"height": 40, "width": 30}, ImageSizeError, r"image\.png.*30 x 40.*40 x 30"),
        ({"annotations": [SMALL]}, BadRecordError, r"of .*image\.png: segmentation 0.*size"),
    ],
)
def test_faults_are_passed_over_but_not_many_in_a_row(record, changes, error, message, caplog):
    train, bad = mapper(), {**record, **changes}
    for _ in range(10):
        assert train(bad) is None
    (logged,) = caplog.messages
    assert re.search(message, logged)
    assert train(record) is not None
    for _ in range(10):
        assert train(bad) is None
    with pytest.raises(error, match=rf"(?s)11 samples in a row.*{message}"):
        train(bad)


def test_training_needs_annotations(record):
    del record["annotations"]
    with pytest.raises(ValueError, match=r"image\.png has no annotations"):
        mapper()(record)


def test_boxes_of_crowds_go_through_the_transform(record):
    xywh = {"iscrowd": 1, "bbox_mode": BoxMode.XYWH_ABS, "category_id": 3}
    record["annotations"] += [
        {**xywh, "bbox": [4, 6, 10, 30]},
        {**xywh, "bbox": [0, 0, 2, 2]},
        {"iscrowd": 1, "category_id": 3, "segmentation": compressed(box_mask(0, 0, 9, 9))},
    ]
    result = mapper(T.CropTransform(2, 2, 36, 26), T.HFlipTransform(36))(record)
    # Cut to the image; that of a corner that was cropped away is gone, and so is the boxless one.
    assert result["crowd_boxes"].tensor.tolist() == [[24, 4, 34, 26]]
    assert "annotations" not in result


def test_zooming_out_keeps_the_size_and_moves_image_and_masks_alike(record, cfg):
    cfg.INPUT.ZOOM_OUT, cfg.INPUT.MIN_SIZE_TRAIN = 4.0, (0,)
    record["annotations"] = [{"category_id": 1, "segmentation": compressed(box_mask(4, 6, 36, 26))}]
    sides, smaller = [], 0
    for seed in range(20):
        np.random.seed(seed)
        result = ImageMapper(cfg, is_train=True)(record)
        assert result["image"].shape == (3, HEIGHT, WIDTH)
        x0, _, x1, _ = result["instances"].gt_boxes.tensor[0].tolist()
        sides.append((x1 - x0) / 32)
        smaller += sides[-1] < 1
        # The red channel is the row number times 8; the frame has the mean of the pixels.
        shown = result["image"][0][result["instances"].gt_masks.tensor[0]] / 8
        assert shown.min() >= 5
        assert shown.max() <= 26
    assert 5 <= smaller <= 15
    assert 0.2 < min(sides) < 0.6
    cfg.INPUT.ZOOM_OUT = 0.5
    with pytest.raises(ValueError, match=r"INPUT\.ZOOM_OUT"):
        ImageMapper(cfg, is_train=True)


def test_half_of_the_images_are_cropped_as_detr_does_it(record, cfg):
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE = True, "detr"
    cfg.INPUT.CROP.SIZE, cfg.INPUT.MIN_SIZE_TRAIN = [384, 600], (0,)
    record["annotations"] = [{"category_id": 1, "segmentation": compressed(box_mask(0, 0, 40, 30))}]
    cropped, sides = 0, set()
    for seed in range(20):
        np.random.seed(seed)
        result = ImageMapper(cfg, is_train=True)(record)
        size = tuple(result["image"].shape[1:])
        if size != (HEIGHT, WIDTH):
            cropped += 1
            sides.update(size)
        # The mask, which is of the whole image, is cropped alike.
        assert result["instances"].gt_masks.tensor.all()
        assert result["instances"].image_size == size
    assert 5 <= cropped <= 15
    assert 384 <= min(sides) < max(sides) <= 600
    cfg.INPUT.CROP.SIZE = [0.9, 0.9]
    with pytest.raises(ValueError, match=r"INPUT\.CROP\.SIZE .* got \(0\.9, 0\.9\)"):
        ImageMapper(cfg, is_train=True)


@pytest.mark.parametrize(
    ("kind", "size", "message"),
    [
        ("circle", [1.0, 1.0], r"CROP\.TYPE is 'circle': choose one of relative_range, "),
        ("relative_range", [5.0, 5.0], r"CROP\.SIZE must be shares .* got \(5\.0, 5\.0\)"),
        ("relative", [0.0, 0.5], r"CROP\.SIZE must be shares .* above 0"),
        ("absolute", [0.9, 0.9], r"CROP\.SIZE must be height and width of a crop in pixels"),
        ("absolute_range", [600, 384], r"CROP\.SIZE must be the smallest and the largest"),
        ("absolute", [100], r"CROP\.SIZE must be height and width .* got \(100,\)"),
    ],
)
def test_crops_that_cannot_be_are_named(cfg, kind, size, message):
    cfg.INPUT.CROP.ENABLED, cfg.INPUT.CROP.TYPE, cfg.INPUT.CROP.SIZE = True, kind, size
    with pytest.raises(ConfigError, match=message):
        ImageMapper(cfg, is_train=True)


def test_an_unknown_flip_is_named(cfg):
    cfg.INPUT.RANDOM_FLIP = "both"
    with pytest.raises(ConfigError, match=r"RANDOM_FLIP is 'both': choose none, horizontal or"):
        ImageMapper(cfg, is_train=True)
