from itertools import islice

import numpy as np
import pytest
import torch
import video
from detectron2.structures import Instances
from processes import ResidentMemory
from tiny_models import build_tiny_model, noise_image, tiny_config
from video import FrameCost, moving_picture, shape_masks

from mobileinst_d2.modeling.postprocessing import mask_product
from mobileinst_d2.tracking import VideoPredictor, video_network


@pytest.fixture(scope="module")
def fresh_model() -> torch.nn.Module:
    """With initial weights, in evaluation mode."""
    return build_tiny_model().eval()


@pytest.fixture
def memories(monkeypatch) -> list[ResidentMemory]:
    """What measurements of memory will find, one after the other."""
    found: list[ResidentMemory] = []
    monkeypatch.setattr(video, "resident_memory", lambda: found.pop(0))
    return found


def test_masks_of_random_weights_get_shapes(fresh_model):
    images = [noise_image(96, 128), noise_image(96, 128, seed=1)]
    network = shape_masks(video_network(fresh_model), images[0])
    outputs = network.keyframe(images)
    with torch.no_grad():
        expected = fresh_model.keyframe(images)
        assert torch.equal(network.reuse(images), fresh_model.reuse(images))
    assert np.array_equal(outputs["scores"], expected["scores"])
    assert torch.equal(outputs["mask_features"], expected["mask_features"])
    assert outputs["kernels"].shape == expected["kernels"].shape
    kernels = torch.from_numpy(outputs["kernels"].copy())
    logits = mask_product(kernels, outputs["mask_features"])[0].flatten(1)
    torch.testing.assert_close(logits.mean(1), torch.full((20,), -4.0), atol=1e-2, rtol=0)
    assert ((logits.std(1) > 2.0) & (logits.std(1) < 6.0)).all()
    similarity = torch.corrcoef((logits > 0).float())
    assert similarity.fill_diagonal_(0).abs().max() < 0.99  # no two masks are alike


def test_the_picture_moves_and_never_ends():
    first, second, *_, last = islice(moving_picture((54, 96)), 200)
    assert first.shape == last.shape == (54, 96, 3)
    assert first.dtype == np.uint8
    assert np.array_equal(second[3:, 5:], first[:-3, :-5])
    assert not np.array_equal(second, first)
    assert np.array_equal(np.sort(last, axis=None), np.sort(first, axis=None))


def test_a_whole_video_is_measured_after_its_first_frame(fresh_model, memories):
    memories += [ResidentMemory(100, 150), ResidentMemory(120, 400)]
    images = [noise_image(96, 128, seed) for seed in range(5)]
    cfg = tiny_config(TEST__SCORE_THRESHOLD=0.0, TEST__DETECTIONS_PER_IMAGE=6)
    predictor = VideoPredictor(cfg, shape_masks(video_network(fresh_model), images[0]))
    cost = video.measure_whole_video(predictor, iter(images), (64, 80))
    expected = predictor.predict(images[1:], (64, 80))
    assert (cost.frames, cost.tracks) == (4, 6)
    assert (cost.before, cost.peak) == (100, 400)
    rles = [rle for track in expected["pred_rles"] for rle in track if rle]
    assert cost.masks == len(rles) > 12
    assert cost.mask_bytes == sum(len(rle["counts"]) for rle in rles)
    assert cost.seconds > 0


class CountingStream:
    """Shows as many instances as it has seen frames; key frames take 8 s, others 2 s."""

    def __init__(self) -> None:
        self.seen = 0
        self.is_keyframe = False
        self.timings: dict[str, float] = {}

    def step(self, frame: np.ndarray, *, force_keyframe: bool = False) -> Instances:
        self.seen += 1
        self.is_keyframe = force_keyframe
        network = (5.0 if force_keyframe else 1.0) + (self.seen <= 4)
        self.timings = {"network": network, "masks": 3.0 if force_keyframe else 1.0}
        return Instances(frame.shape[:2], ID=list(range(self.seen)))


def test_a_stream_is_measured_after_it_has_warmed_up(memories):
    memories += [ResidentMemory(100, 150), ResidentMemory(103, 160)]
    stream, frames = CountingStream(), moving_picture((8, 16))
    cost = video.measure_live(stream, frames, steps=4, warm_up=3)
    assert stream.seen == 7
    assert cost.instances == (4 + 5 + 6 + 7) / 4
    assert (cost.steps, cost.before.now, cost.after.now) == (4, 100, 103)


def test_key_frames_and_others_are_timed_in_turn():
    frames = islice(moving_picture((8, 16)), 10)
    step, network = video.measure_frames(CountingStream(), frames, warm_up=4)
    assert step == FrameCost(keyframe=8.0, reuse=2.0)
    assert network == FrameCost(keyframe=5.0, reuse=1.0)


def test_frames_of_a_clip_share_the_cost_of_its_key_frame():
    cost = FrameCost(keyframe=8.0, reuse=2.0)
    assert [cost.per_frame(t) for t in (1, 2, 6)] == [8.0, 5.0, 3.0]
