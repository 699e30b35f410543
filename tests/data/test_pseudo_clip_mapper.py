"""Clips made of single images: motion, rows, masks, and the same form as clips of videos."""

import copy

import cv2
import numpy as np
import pytest
import torch
from annotation_files import boxes_in, compressed
from detectron2.data import transforms as T

from mobileinst_d2.data import ClipMapper, PseudoClipMapper

HEIGHT, WIDTH = 60, 80
box_mask = boxes_in((HEIGHT, WIDTH))


def annotation(box, category=0, encode=compressed, **more):
    return {"category_id": category, "segmentation": encode(box_mask(*box)), **more}


@pytest.fixture
def record(tmp_path):
    """Row number in red, column number in green, blue full: what a transform adds is black."""
    image = np.full((HEIGHT, WIDTH, 3), 255, np.uint8)
    image[..., 0] = np.arange(HEIGHT)[:, None] * 4
    image[..., 1] = np.arange(WIDTH)[None] * 3
    path = tmp_path / "image.png"
    cv2.imwrite(str(path), image[..., ::-1])
    return {
        "file_name": str(path),
        "height": HEIGHT,
        "width": WIDTH,
        "image_id": 31,
        "annotations": [annotation((20, 15, 50, 40), 2), annotation((55, 25, 78, 58), 1)],
    }


def mapper(*augmentations, **changes):
    settings = {
        "image_format": "RGB",
        "num_frames": 2,
        "shuffle": False,
        "rotation": 15.0,
        "min_window": 0.6,
        "augmentations": list(augmentations),
    }
    return PseudoClipMapper(**{**settings, **changes})


def still(*augmentations, **changes):
    return mapper(*augmentations, **{"rotation": 0.0, "min_window": 1.0, **changes})


def source_positions(image):
    """Where each pixel of a frame comes from, rows and columns, and whether it is of the image."""
    image = image.float()
    return image[0] / 4, image[1] / 3, image[2] > 254


def turn(image):
    """By how much a frame is turned, in degrees counter-clockwise, fitted to its coordinates."""
    rows, columns, inside = (x.numpy() for x in source_positions(image))
    y, x = np.nonzero(inside)
    basis = np.stack([y, x, np.ones_like(x)], axis=1)
    (row_per_y, *_), *_ = np.linalg.lstsq(basis, rows[inside], rcond=None)
    (column_per_y, *_), *_ = np.linalg.lstsq(basis, columns[inside], rcond=None)
    return float(np.rad2deg(np.arctan2(-column_per_y, row_per_y)))


@pytest.mark.parametrize("seed", range(8))
def test_masks_follow_the_pixels_of_their_frame(record, seed):
    np.random.seed(seed)
    clip = mapper(T.ResizeShortestEdge((70, 90), 200, "range"), T.RandomFlip(), num_frames=3)(
        record
    )
    assert len({tuple(image.shape) for image in clip["image"]}) == 1
    for image, instances in zip(clip["image"], clip["instances"], strict=True):
        rows, columns, inside = source_positions(image)
        assert instances.image_size == image.shape[1:]
        for mask, (x0, y0, x1, y1) in zip(
            instances.gt_masks.tensor[: len(clip["instances"][0])],
            [(20, 15, 50, 40), (55, 25, 78, 58)],
            strict=True,
        ):
            within = inside & (rows > y0 + 1) & (rows < y1 - 2)
            within &= (columns > x0 + 1) & (columns < x1 - 2)
            outside = ~inside | (rows < y0 - 2) | (rows > y1 + 1)
            outside |= (columns < x0 - 2) | (columns > x1 + 1)
            assert mask[within].all()
            # Black is mixed in along the border of a turned image.
            border = cv2.dilate((~inside).numpy().astype(np.uint8), np.ones((5, 5), np.uint8))
            assert not mask[outside & torch.from_numpy(border == 0)].any()


def test_the_image_turns_steadily_within_the_limit(record):
    np.random.seed(0)
    angles = []
    for _ in range(40):
        clip = mapper(num_frames=4, min_window=0.9, rotation=10.0)(record)
        found = [turn(image) for image in clip["image"]]
        assert found == pytest.approx(sorted(found), abs=0.1)
        angles += found
    assert -10.1 < min(angles) < -9
    assert 9 < max(angles) < 10.1
    assert abs(np.mean(angles)) < 1.5


def test_the_window_moves_in_a_straight_line_and_keeps_its_size(record):
    np.random.seed(0)
    sides, moved = [], []
    for _ in range(40):
        clip = mapper(num_frames=5, rotation=0.0)(record)
        corners = np.array([[float(x[0, 0, 0]) / 4, float(x[1, 0, 0]) / 3] for x in clip["image"]])
        steps = np.diff(corners, axis=0)
        assert np.abs(steps - steps.mean(axis=0)).max() <= 1
        moved.append(np.abs(corners[-1] - corners[0]).max())
        (shape,) = {tuple(image.shape[1:]) for image in clip["image"]}
        sides.append(shape[0] / HEIGHT)
        assert shape[1] / WIDTH == pytest.approx(sides[-1], abs=0.02)
    assert 0.59 < min(sides) < 0.7
    assert 0.9 < max(sides) <= 1
    assert max(moved) > 12


def test_order_is_that_of_the_motion_or_random(record):
    np.random.seed(0)
    orders = set()
    for _ in range(30):
        clip = mapper(num_frames=3, shuffle=True, min_window=0.9)(record)
        angles = [turn(image) for image in clip["image"]]
        assert np.argsort(np.argsort(angles)).tolist() == clip["frame_idx"]
        orders.add(tuple(clip["frame_idx"]))
    assert len(orders) == 6
    assert mapper(num_frames=3)(record)["frame_idx"] == [0, 1, 2]


def test_an_object_in_some_frames_only_keeps_its_row_and_class(record):
    record["annotations"] = [annotation((0, 0, 6, HEIGHT), 3), annotation((74, 0, 80, HEIGHT), 1)]
    np.random.seed(0)
    seen = set()
    for _ in range(60):
        clip = mapper(rotation=0.0)(record)
        for row in range(len(clip["instances"][0])):
            ids = [int(instances.gt_ids[row]) for instances in clip["instances"]]
            classes = {int(instances.gt_classes[row]) for instances in clip["instances"]}
            assert classes == {[3, 1][max(ids)]}
            for number, instances in zip(ids, clip["instances"], strict=True):
                assert (number == -1) == (not instances.gt_masks.tensor[row].any())
                assert (number == -1) == (instances.gt_boxes.tensor[row].sum() == 0)
            seen.add(tuple(number == -1 for number in ids))
    assert seen == {(False, False), (True, False), (False, True)}


def test_crowds_and_annotations_without_mask_have_no_row(record):
    record["annotations"] += [annotation((0, 0, 9, 9), iscrowd=1), {"category_id": 0, "bbox": []}]
    for instances in still()(record)["instances"]:
        assert instances.gt_ids.tolist() == [0, 1]


def test_a_clip_without_any_object_is_drawn_again(record):
    record["annotations"] = [annotation((0, 0, 3, 3))]
    np.random.seed(0)
    draw = mapper(rotation=0.0, num_frames=1, min_window=0.6)
    hits = [len(draw(record)["instances"][0]) for _ in range(150)]
    motions = [draw._draw_motion((HEIGHT, WIDTH))[0].transforms[1] for _ in range(600)]
    once = np.mean([crop.x0 < 3 and crop.y0 < 3 for crop in motions])
    assert np.mean(hits) > once + 0.15
    assert 0 in hits


def test_the_form_is_that_of_clips_of_videos(record, shape_records, cfg):
    cfg.INPUT.SAMPLING_FRAME_NUM = 3
    before = copy.deepcopy(record)
    pseudo, real = PseudoClipMapper(cfg)(record), ClipMapper(cfg)(shape_records[0])
    assert record == before
    assert set(pseudo) == set(real)
    assert (pseudo["video_id"], pseudo["length"]) == (31, 3)
    assert (pseudo["height"], pseudo["width"]) == (HEIGHT, WIDTH)
    assert pseudo["file_names"] == [record["file_name"]] * 3
    assert sorted(pseudo["frame_idx"]) == [0, 1, 2]
    assert [image.dtype for image in pseudo["image"]] == [image.dtype for image in real["image"]]
    assert [min(image.shape[1:]) for image in pseudo["image"]] == [40] * 3
    for key, value in real["instances"][0].get_fields().items():
        found = pseudo["instances"][0].get(key)
        assert type(found) is type(value)
        if isinstance(value, torch.Tensor):
            assert found.dtype == value.dtype


def test_malformed_masks_and_missing_annotations_name_the_image(record, caplog):
    record["annotations"][1]["segmentation"] = {"size": [3, 3], "counts": [9]}
    assert mapper()(record) is None
    assert "image.png: segmentation 1" in caplog.text
    del record["annotations"]
    with pytest.raises(ValueError, match=r"image\.png has no annotations"):
        mapper()(record)


@pytest.mark.parametrize(
    "setting", ["num_frames 0", "rotation -1", "rotation 181", "min_window 0", "min_window 2"]
)
def test_settings_out_of_range_are_refused(setting):
    key, value = setting.split()
    with pytest.raises(ValueError, match=rf"{key}.*{value}"):
        mapper(**{key: int(value)})
