"""Targets of clips after flips and crops, where objects come and go, and what is drawn again."""

import numpy as np
import pytest
import torch
from annotation_files import boxes_in
from detectron2.data import transforms as T

from mobileinst_d2.data import ClipMapper
from mobileinst_d2.data.mappers.clip_mapper import ClipSampler

HEIGHT, WIDTH = 40, 56
box_mask = boxes_in((HEIGHT, WIDTH))


def frame_of(*boxes):
    """Object number k shines in channel k."""
    return np.stack([255 * box_mask(*box) for box in boxes], axis=-1)


def mapper(*augmentations, tries=1, **changes):
    settings = {"num_frames": 2, "min_distance": 1, "max_distance": 0, "shuffle": False}
    return ClipMapper(
        is_train=True,
        image_format="RGB",
        augmentations=list(augmentations),
        sampler=ClipSampler(**{**settings, **changes}, shared_tries=tries),
    )


class Counted(T.Augmentation):
    """Crops that are given one after the other, (x0, y0, width, height)."""

    def __init__(self, *crops):
        super().__init__()
        self.crops = list(crops)
        self.draws = 0

    def get_transform(self, image):
        self.draws += 1
        return T.CropTransform(*self.crops[min(self.draws, len(self.crops)) - 1])


@pytest.mark.parametrize("seed", range(10))
def test_masks_and_boxes_stay_on_their_pixels(make_record, seed):
    """Three objects that move apart, each in a channel of its own."""
    boxes = [
        [(4 + 3 * t, 4, 20 + 3 * t, 18), (30, 20 - 4 * t, 50, 36 - 4 * t), (2, 25, 14, 38)]
        for t in range(3)
    ]
    tracks = {k + 1: (k, [box_mask(*boxes[t][k]) for t in range(3)]) for k in range(3)}
    record = make_record([frame_of(*boxes[t]) for t in range(3)], tracks)
    np.random.seed(seed)
    clip = mapper(
        T.RandomCrop("relative_range", (0.6, 0.6)),
        T.RandomFlip(),
        T.ResizeShortestEdge((40, 70), 200, "range"),
        num_frames=3,
    )(record)
    for image, instances in zip(clip["image"], clip["instances"], strict=True):
        for row, number in enumerate(instances.gt_ids.tolist()):
            mask = instances.gt_masks.tensor[row]
            if number < 0:
                assert not mask.any()
                continue
            channel = image[number - 1]
            assert mask[channel > 250].all()
            assert not mask[channel < 5].any()
            y, x = torch.nonzero(mask, as_tuple=True)
            tight = [int(v) for v in (x.min(), y.min(), x.max() + 1, y.max() + 1)]
            assert instances.gt_boxes.tensor[row].tolist() == tight


def test_a_crop_without_objects_is_drawn_again_three_times_at_most(make_record):
    record = make_record(
        [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 2, {5: (3, [box_mask(4, 4, 20, 18)] * 2)}
    )
    beside, around = (30, 20, 20, 16), (0, 0, 24, 20)
    crops = Counted(beside, beside, around)
    assert [len(i) for i in mapper(crops)(record)["instances"]] == [1, 1]
    assert crops.draws == 3
    crops = Counted(beside)
    clip = mapper(crops)(record)
    assert crops.draws == 4
    for instances in clip["instances"]:
        assert len(instances) == 0
        assert instances.gt_masks.tensor.shape == (0, 16, 20)
        assert instances.gt_boxes.tensor.shape == (0, 4)
        assert instances.gt_ids.dtype == instances.gt_classes.dtype == torch.int64


def test_a_crop_with_an_object_in_one_frame_is_kept(make_record):
    masks = [box_mask(4, 4, 20, 18), box_mask(34, 22, 48, 36)]
    record = make_record([np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * 2, {5: (3, masks)})
    crops = Counted((0, 0, 24, 20))
    first, second = mapper(crops)(record)["instances"]
    assert crops.draws == 1
    assert (first.gt_ids.tolist(), second.gt_ids.tolist()) == ([5], [-1])


@pytest.mark.parametrize(("tries", "share"), [(1, 0.5), (3, 0.875)])
def test_partners_that_show_an_object_of_the_reference_are_preferred(make_record, tries, share):
    """Object 1 is in even frames, object 2 in odd ones, and a crowd in all."""
    length, box = 41, box_mask(4, 4, 20, 18)
    record = make_record(
        [np.zeros((HEIGHT, WIDTH, 3), np.uint8)] * length,
        {
            1: (0, [box if t % 2 == 0 else None for t in range(length)]),
            2: (0, [box if t % 2 else None for t in range(length)]),
            3: (0, [box] * length),
        },
    )
    record["tracks"][2]["iscrowd"] = 1
    record["reference_frame"] = 20
    draw = mapper(tries=tries)
    np.random.seed(0)
    even = [all(t % 2 == 0 for t in draw._sample_frames(record)) for _ in range(600)]
    assert np.mean(even) == pytest.approx(share, abs=0.06)
