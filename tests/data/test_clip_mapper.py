"""Clips: which frames, which rows, one transform for all frames."""

import copy
import re
from collections import Counter

import cv2
import numpy as np
import pytest
import torch
from annotation_files import boxes_in
from detectron2.data import transforms as T

from mobileinst_d2.data import ClipMapper
from mobileinst_d2.data.mappers.clip_mapper import ClipSampler, visible_frames

HEIGHT, WIDTH = 24, 32
LARGE = 40, 56
box_mask, large_mask = boxes_in((HEIGHT, WIDTH)), boxes_in(LARGE)


def sampler(**changes):
    settings = {
        "num_frames": 2,
        "min_distance": 1,
        "max_distance": 20,
        "shuffle": False,
        "shared_tries": 3,
    }
    return ClipSampler(**{**settings, **changes})


def always(_):
    return True


def mapper(*augmentations, color=(), **sampling):
    return ClipMapper(
        is_train=True,
        image_format="RGB",
        augmentations=list(augmentations),
        color_augmentations=list(color),
        sampler=sampler(**sampling),
    )


def coordinate_frame(number=0):
    """Row number in red, column number in green, frame number in blue."""
    frame = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    frame[..., 0] = np.arange(HEIGHT)[:, None] * 10
    frame[..., 1] = np.arange(WIDTH)[None] * 7
    frame[..., 2] = number * 20
    return frame


@pytest.fixture
def two_tracks(make_record):
    """Track 9 is visible in all of three frames, track 4 (listed second) in the first only."""
    frames = [coordinate_frame(t) for t in range(3)]
    tracks = {
        9: (2, [box_mask(1 + t, 1, 9 + t, 9) for t in range(3)]),
        4: (0, [box_mask(12, 10, 24, 20), None, None]),
    }
    return make_record(frames, tracks)


# Sampling of frames


def test_pair_distance_is_uniform_between_its_limits():
    np.random.seed(0)
    draw = sampler(min_distance=2, max_distance=6, shared_tries=1)
    count = Counter()
    for _ in range(2000):
        first, second = draw(10, 30, always)
        count[second - first if first == 10 else first - second] += 1
    assert set(count) == {*range(-6, -1), *range(2, 7)}
    expected = 2000 / 10
    chi_square = sum((n - expected) ** 2 / expected for n in count.values())
    assert chi_square < 27.9  # 0.1 % point for 9 degrees of freedom


@pytest.mark.parametrize("everything", [0, -1])
def test_range_zero_is_the_whole_video(everything):
    np.random.seed(0)
    draw = sampler(max_distance=everything)
    partners = {frame for _ in range(600) for frame in draw(0, 40, always)}
    assert partners == set(range(40))


def test_partners_stay_inside_the_video():
    np.random.seed(0)
    draw = sampler(max_distance=4)
    for reference in (0, 2, 6):
        partners = {f for _ in range(200) for f in draw(reference, 7, always)} - {reference}
        assert partners == {f for f in range(7) if 1 <= abs(f - reference) <= 4}


@pytest.mark.parametrize(("length", "interval"), [(1, 1), (3, 5)])
def test_videos_too_short_repeat_the_reference(length, interval):
    draw = sampler(min_distance=interval)
    assert draw(0, length, always) == [0, 0]
    assert sampler(min_distance=interval, num_frames=3)(0, length, always) == [0, 0, 0]


def test_more_frames_come_without_repetition_while_there_are_enough():
    np.random.seed(0)
    for _ in range(50):
        frames = sampler(num_frames=5)(3, 6, always)
        assert len(set(frames)) == 5
        assert 3 in frames
    assert len(sampler(num_frames=5)(1, 3, always)) == 5


def test_order_is_chronological_or_random():
    np.random.seed(0)
    ordered = [sampler()(5, 11, always) for _ in range(100)]
    assert all(first < second for first, second in ordered)
    shuffled = [sampler(shuffle=True)(5, 11, always) for _ in range(400)]
    first_is_reference = sum(frames[0] == 5 for frames in shuffled)
    later_second = sum(frames[0] < frames[1] for frames in shuffled)
    assert 150 < first_is_reference < 250
    assert 150 < later_second < 250


def test_contradictory_sampling_is_refused():
    for changes, message in (
        ({"num_frames": 0}, "num_frames is 0"),
        ({"min_distance": 0}, "min_distance"),
        ({"min_distance": 5, "max_distance": 4}, r"max_distance is 4.*\(5\)"),
    ):
        with pytest.raises(ValueError, match=message):
            sampler(**changes)


# Rows and identities


def sample(record, frames, clip_mapper=None):
    """The clip with the given frames, in this order."""
    clip_mapper = clip_mapper or mapper()
    clip_mapper.sampler = lambda reference, length, shares: list(frames)
    return clip_mapper({**record, "reference_frame": frames[0]})


def test_rows_are_the_same_objects_in_every_frame(two_tracks):
    first, second = sample(two_tracks, [0, 2])["instances"]
    assert first.gt_ids.tolist() == [4, 9]
    assert second.gt_ids.tolist() == [-1, 9]
    # The class comes from the track, also where the object is absent.
    assert first.gt_classes.tolist() == second.gt_classes.tolist() == [0, 2]
    np.testing.assert_array_equal(first.gt_masks.tensor[0].numpy(), box_mask(12, 10, 24, 20))
    assert not second.gt_masks.tensor[0].any()
    assert second.gt_boxes.tensor.tolist() == [[0, 0, 0, 0], [3, 1, 11, 9]]
    assert first.gt_ids.dtype == first.gt_classes.dtype == torch.int64


def test_crowds_have_no_row(two_tracks):
    two_tracks["tracks"][0]["iscrowd"] = 1
    for instances in sample(two_tracks, [0, 1])["instances"]:
        assert instances.gt_classes.tolist() == [0]
    assert visible_frames(two_tracks) == [0]


def test_input(two_tracks):
    before = copy.deepcopy(two_tracks)
    result = sample(two_tracks, [2, 0], mapper(T.Resize((12, 16))))
    assert set(result) == {
        "video_id", "height", "width", "length", "file_names", "frame_idx", "image", "instances",
    }  # fmt: skip
    assert result["frame_idx"] == [2, 0]
    assert result["file_names"] == [before["file_names"][t] for t in (2, 0)]
    assert (result["height"], result["width"], result["length"]) == (HEIGHT, WIDTH, 3)
    assert [image.shape for image in result["image"]] == [(3, 12, 16)] * 2
    assert all(image.dtype == torch.uint8 for image in result["image"])
    assert [int(image[2, 0, 0]) for image in result["image"]] == [40, 0]
    assert two_tracks == before


def test_without_a_given_reference_one_with_objects_is_drawn(make_record):
    frames = [coordinate_frame(t) for t in range(6)]
    masks = [box_mask(2, 2, 9, 9) if t in (1, 4) else None for t in range(6)]
    record = make_record(frames, {1: (0, masks)})
    np.random.seed(0)
    clips = [mapper(num_frames=1)(record)["frame_idx"][0] for _ in range(30)]
    assert set(clips) == {1, 4}


def test_malformed_masks_name_video_and_frame(two_tracks, caplog):
    two_tracks["tracks"][0]["segmentations"][1] = {"size": [3, 3], "counts": [9]}
    assert sample(two_tracks, [0, 1]) is None
    (message,) = caplog.messages
    assert re.search(r"Video 1, frame 1.*size.*Another sample", message)


def test_training_needs_tracks(two_tracks):
    two_tracks["tracks"] = None
    with pytest.raises(ValueError, match="Video 1 has no tracks"):
        mapper()(two_tracks)


# Transforms


def test_colours_vary_per_frame_and_never_mix_frames(make_record):
    frames = [np.full((HEIGHT, WIDTH, 3), (200, 40, 40), np.uint8), coordinate_frame()]
    record = make_record(frames, {1: (0, [box_mask(6, 6, 22, 18)] * 2)})
    np.random.seed(0)
    result = sample(record, [0, 1], mapper(color=[T.RandomSaturation(0.5, 0.5)]))
    # A wrong implementation blends the grey version of the first frame into the second.
    grey = (coordinate_frame() @ [0.299, 0.587, 0.114])[..., None]
    expected = torch.from_numpy(0.5 * coordinate_frame() + 0.5 * grey).permute(2, 0, 1)
    assert (result["image"][1] - expected).abs().max() <= 1
    flat = [np.full((HEIGHT, WIDTH, 3), 100, np.uint8)] * 2
    record = make_record(flat, {1: (0, [box_mask(6, 6, 22, 18)] * 2)}, video_id=2)
    images = sample(record, [0, 1], mapper(color=[T.RandomBrightness(0.5, 1.5)]))["image"]
    assert images[0].unique().numel() == images[1].unique().numel() == 1
    assert images[0][0, 0, 0] != images[1][0, 0, 0]


def test_config_keys(two_tracks, cfg):
    cfg.INPUT.RANDOM_FLIP = "none"
    cfg.INPUT.SAMPLING_FRAME_NUM = 3
    cfg.INPUT.SAMPLING_FRAME_RANGE = 7
    cfg.INPUT.SAMPLING_FRAME_SHUFFLE = False
    clip_mapper = ClipMapper(cfg, is_train=True)
    assert clip_mapper.sampler.max_distance == 7
    result = clip_mapper(two_tracks)
    assert result["frame_idx"] == [0, 1, 2]
    assert [image.shape for image in result["image"]] == [(3, 40, 53)] * 3


@pytest.mark.parametrize(("flip", "ways"), [("none", {False}), ("horizontal", {False, True})])
def test_random_flip_turns_whole_clips(cfg, shape_records, flip, ways):
    cfg.INPUT.SAMPLING_FRAME_NUM = shape_records[0]["length"]
    cfg.INPUT.SAMPLING_FRAME_SHUFFLE = False
    cfg.INPUT.RANDOM_FLIP = "none"
    plain = torch.stack(ClipMapper(cfg, is_train=True)(shape_records[0])["image"])
    cfg.INPUT.RANDOM_FLIP = flip
    np.random.seed(0)
    seen = set()
    for _ in range(12):
        images = torch.stack(ClipMapper(cfg, is_train=True)(shape_records[0])["image"])
        is_flipped = not torch.equal(images, plain)
        # Resized and turned is not to the last bit turned and resized.
        wanted = plain.flip(-1) if is_flipped else plain
        assert (images.float() - wanted.float()).abs().max() <= 2
        seen.add(is_flipped)
    assert seen == ways


def test_transposed_frames_are_turned_with_one_warning(two_tracks, caplog):
    expected = sample(two_tracks, [0, 2])
    for name in two_tracks["file_names"]:
        cv2.imwrite(name, cv2.imread(name).swapaxes(0, 1))
    found = sample(two_tracks, [0, 2])
    for a, b in zip(found["image"], expected["image"], strict=True):
        assert torch.equal(a, b)
    assert sum("transposed" in message for message in caplog.messages) == 1


def test_an_unreadable_frame_is_logged_once_and_passed_over(two_tracks, caplog):
    two_tracks["file_names"][2] = "/nowhere/00002.jpg"
    clip_mapper = mapper()
    assert sample(two_tracks, [0, 2], clip_mapper) is None
    assert sample(two_tracks, [0, 2], clip_mapper) is None
    assert sample(two_tracks, [0, 1], clip_mapper) is not None
    assert sum("/nowhere/00002.jpg" in message for message in caplog.messages) == 1


# Targets after flips and crops, and what is drawn again


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
    tracks = {k + 1: (k, [large_mask(*boxes[t][k]) for t in range(3)]) for k in range(3)}
    frames = [np.stack([255 * large_mask(*x) for x in boxes[t]], axis=-1) for t in range(3)]
    record = make_record(frames, tracks)
    np.random.seed(seed)
    clip = mapper(
        T.RandomCrop("relative_range", (0.6, 0.6)),
        T.RandomFlip(),
        T.ResizeShortestEdge((40, 70), 200, "range"),
        num_frames=3,
        max_distance=0,
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
        [np.zeros((*LARGE, 3), np.uint8)] * 2, {5: (3, [large_mask(4, 4, 20, 18)] * 2)}
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
    masks = [large_mask(4, 4, 20, 18), large_mask(34, 22, 48, 36)]
    record = make_record([np.zeros((*LARGE, 3), np.uint8)] * 2, {5: (3, masks)})
    crops = Counted((0, 0, 24, 20))
    first, second = mapper(crops)(record)["instances"]
    assert crops.draws == 1
    assert (first.gt_ids.tolist(), second.gt_ids.tolist()) == ([5], [-1])


@pytest.mark.parametrize(("tries", "share"), [(1, 0.5), (3, 0.875)])
def test_partners_that_show_an_object_of_the_reference_are_preferred(make_record, tries, share):
    """Object 1 is in even frames, object 2 in odd ones, and a crowd in all."""
    length, box = 41, large_mask(4, 4, 20, 18)
    record = make_record(
        [np.zeros((*LARGE, 3), np.uint8)] * length,
        {
            1: (0, [box if t % 2 == 0 else None for t in range(length)]),
            2: (0, [box if t % 2 else None for t in range(length)]),
            3: (0, [box] * length),
        },
    )
    record["tracks"][2]["iscrowd"] = 1
    record["reference_frame"] = 20
    draw = mapper(shared_tries=tries, max_distance=0)
    np.random.seed(0)
    even = [all(t % 2 == 0 for t in draw._sample_frames(record)) for _ in range(600)]
    assert np.mean(even) == pytest.approx(share, abs=0.06)
