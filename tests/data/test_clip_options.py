"""What each option of clip sampling changes, on the mapper that the config builds."""

import numpy as np
import pytest
import torch

from mobileinst_d2.data import ClipMapper

LENGTH, DRAWS = 60, 300


@pytest.fixture(autouse=True)
def _fixed_draws():
    np.random.seed(0)


@pytest.fixture
def draw(cfg):
    """Draws clips around the middle of a video with the given options of INPUT."""

    def draw_clips(shares=lambda _: True, **options):
        for name, value in options.items():
            cfg.INPUT[name] = value
        sampler = ClipMapper(cfg, is_train=True).sampler
        return [sampler(LENGTH // 2, LENGTH, shares) for _ in range(DRAWS)]

    return draw_clips


@pytest.mark.parametrize("number", [1, 2, 4])
def test_frame_num_is_the_number_of_frames(draw, number):
    assert {len(clip) for clip in draw(SAMPLING_FRAME_NUM=number)} == {number}


@pytest.mark.parametrize(("farthest", "seen"), [(20, (1, 20)), (3, (1, 3))])
def test_the_range_limits_the_distance(draw, farthest, seen):
    distances = {abs(first - second) for first, second in draw(SAMPLING_FRAME_RANGE=farthest)}
    assert (min(distances), max(distances)) == seen


def test_a_range_of_zero_is_the_whole_video(draw):
    frames = {frame for clip in draw(SAMPLING_FRAME_RANGE=0) for frame in clip}
    assert min(frames) < 3
    assert max(frames) > LENGTH - 4


@pytest.mark.parametrize(("shuffle", "orders"), [(True, {True, False}), (False, {True})])
def test_shuffle_lets_the_later_frame_come_first(draw, shuffle, orders):
    clips = draw(SAMPLING_FRAME_SHUFFLE=shuffle)
    assert {first < second for first, second in clips} == orders


def test_common_objects_are_more_frequent_than_by_chance(draw):
    # Every second frame shows the objects of the reference frame; there are three tries.
    clips = draw(lambda frame: frame % 2 == 0)
    shared = np.mean([all(frame % 2 == 0 for frame in clip) for clip in clips])
    assert shared == pytest.approx(0.875, abs=0.1)


@pytest.mark.parametrize(("flip", "ways"), [("none", {False}), ("horizontal", {False, True})])
def test_random_flip_turns_whole_clips(cfg, shape_records, flip, ways):
    cfg.INPUT.SAMPLING_FRAME_NUM = shape_records[0]["length"]
    cfg.INPUT.SAMPLING_FRAME_SHUFFLE = False
    cfg.INPUT.RANDOM_FLIP = "none"
    plain = torch.stack(ClipMapper(cfg, is_train=True)(shape_records[0])["image"])
    cfg.INPUT.RANDOM_FLIP = flip
    seen = set()
    for _ in range(12):
        images = torch.stack(ClipMapper(cfg, is_train=True)(shape_records[0])["image"])
        is_flipped = not torch.equal(images, plain)
        # Resized and turned is not to the last bit turned and resized.
        wanted = plain.flip(-1) if is_flipped else plain
        assert (images.float() - wanted.float()).abs().max() <= 2
        seen.add(is_flipped)
    assert seen == ways
