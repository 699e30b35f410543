"""Tracking with models of Detectron2: config keys, tensors, and memory of GPUs."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from scripted_network import FRAME_SIZE, ScriptedNetwork, frame_of, video_of
from tiny_models import build_lively_model, build_tiny_model, noise_image, tiny_config
from torch import nn

from mobileinst_core.tracking.association import MovingAverage, PreviousKeyframe
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor, video_network


def scripted(length: int = 6, queries: int = 4) -> ScriptedNetwork:
    scores = torch.rand(length, queries, 3) * 0.05
    for n in range(queries):
        scores[:, n, n % 3] = 0.9 - 0.1 * n + 0.02 * torch.rand(length)
    return ScriptedNetwork(scores)


class TensorModel(nn.Module):
    """A scripted network as a model in PyTorch."""

    mask_stride, mask_upsampling = 8, 2

    def __init__(self, network: ScriptedNetwork, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.network = network
        self.scale = nn.Parameter(torch.ones((), dtype=dtype))
        self.seen: list[Any] = []

    def keyframe(self, frames: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
        self.seen += frames
        answers = self.network.keyframe(frames)
        return {name: torch.from_numpy(x) * self.scale for name, x in answers.items()}

    def reuse(self, frames: Sequence[torch.Tensor]) -> torch.Tensor:
        self.seen += frames
        return torch.from_numpy(self.network.reuse(frames)) * self.scale


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_a_model_in_pytorch_tracks_as_its_arrays_do(dtype):
    network = scripted()
    model = TensorModel(network, dtype).to(dtype)
    cfg = tiny_config(TEST__TRACKING__CLIP_LEN=2)
    expected = VideoPredictor(cfg, network).predict(video_of(6), FRAME_SIZE)
    result = VideoPredictor(cfg, model).predict(video_of(6), FRAME_SIZE)
    assert result["pred_ids"] == expected["pred_ids"]
    assert result["pred_scores"] == pytest.approx(expected["pred_scores"], rel=1e-2)
    assert result["pred_rles"] == expected["pred_rles"]


def test_arrays_carry_no_gradient_and_frames_become_tensors():
    model = TensorModel(scripted())
    network = video_network(model)
    outputs = network.keyframe([frame_of(0).numpy()])
    assert {type(outputs[name]) for name in ("kernels", "scores")} == {np.ndarray}
    assert not outputs["mask_features"].requires_grad
    assert not network.reuse([frame_of(1)])[0].requires_grad
    assert network.mask_product(outputs["kernels"][0], outputs["mask_features"][0]).shape[0] == 4
    assert all(isinstance(frame, torch.Tensor) for frame in model.seen)


def test_videos_are_predicted_in_the_form_of_the_loaders():
    network = scripted().permuted([torch.arange(4).roll(t) for t in range(6)])
    video = {"image": video_of(6), "height": 48, "width": 64, "video_id": 1}
    other = {**video, "image": video_of(6)[::-1], "video_id": 2}
    predictor = VideoPredictor(tiny_config(), network)
    results = predictor([other, video])
    assert [r.pop("video_id") for r in results] == [2, 1]
    assert results[1] == predictor.predict(video_of(6), FRAME_SIZE)


def test_tracking_reads_its_config():
    cfg = tiny_config(
        TEST__TRACKING__CLIP_LEN=3,
        TEST__TRACKING__LABELS_PER_TRACK="all",
        TEST__SCORE_THRESHOLD=0.1,
        TEST__DETECTIONS_PER_IMAGE=12,
        TEST__MASK_THRESHOLD=0.4,
        TEST__MASK_RESCORE=False,
        TEST__STREAMING__SCORE_ON=0.7,
        TEST__STREAMING__SCORE_OFF=0.6,
        TEST__STREAMING__MAX_LOST=3,
        TEST__STREAMING__MAX_INSTANCES=4,
        TEST__STREAMING__SCENE_CUT_THRESHOLD=25.0,
    )
    model = build_tiny_model()
    videos, live = VideoPredictor(cfg, model), StreamingPredictor(cfg, model)
    assert videos.runner.clip_len == live.runner.clip_len == 3
    assert videos.postprocessing.mask_threshold == live.postprocessing.mask_threshold == 0.4
    assert (videos.labels_per_track, videos.postprocessing.max_detections) == ("all", 12)
    assert videos.postprocessing.score_threshold == 0.1
    assert not videos.postprocessing.mask_rescore
    tracks = live.tracks
    assert (tracks.score_on, tracks.score_off, tracks.max_lost) == (0.7, 0.6, 3)
    assert (live.max_instances, live.scene_cut_threshold) == (4, 25.0)


@pytest.mark.parametrize("front_end", [VideoPredictor, StreamingPredictor])
def test_the_association_is_read_from_the_config(front_end):
    model = build_tiny_model()
    cfg = tiny_config(TEST__TRACKING__MODE="ema")
    assert isinstance(front_end(cfg, model).runner.tracker, MovingAverage)
    default = front_end(tiny_config(), model).runner.tracker
    assert isinstance(default, PreviousKeyframe)


def test_live_tracking_gives_instances():
    predictor = StreamingPredictor(
        tiny_config(TEST__TRACKING__CLIP_LEN=2, TEST__STREAMING__SCORE_ON=0.3), build_lively_model()
    )
    for t, size in enumerate([(96, 128), (96, 128), (120, 90), (60, 80)]):
        frame = noise_image(*size, t).permute(1, 2, 0).numpy()
        result = predictor.step(frame)
        assert len(result) > 0
        assert result.image_size == result.pred_masks.shape[1:] == size
        assert len(result.ID) == len(result.ID_period) == len(result.scores) == len(result)


class SmallGpu:
    """A network on a GPU with memory for so many key frames at once; counts attempts."""

    mask_stride, mask_upsampling = 8, 2

    def __init__(self, network: ScriptedNetwork, limit: int) -> None:
        self.network = network
        self.limit = limit
        self.attempts: list[int] = []
        self.reuse = network.reuse

    def keyframe(self, frames: Sequence[torch.Tensor]) -> dict[str, np.ndarray]:
        self.attempts.append(len(frames))
        if len(frames) > self.limit:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return self.network.keyframe(frames)


def predictor_of(network: object, **options: int) -> VideoPredictor:
    return VideoPredictor(tiny_config(), network, **options)


@pytest.mark.parametrize(
    ("limit", "attempts"),
    [(8, [8, 8, 3]), (7, [8, 4, 4, 4, 4, 3]), (3, [8, 4, *[2] * 9, 1]), (1, [8, 4, 2, *[1] * 19])],
)
def test_chunks_are_halved_where_a_gpu_has_no_memory_for_them(limit, attempts, caplog):
    network = scripted(19).permuted([torch.randperm(4) for _ in range(19)])
    expected = predictor_of(network).predict(video_of(19), FRAME_SIZE)
    gpu = SmallGpu(network, limit)
    reads = []
    frames = (reads.append(t) or frame_of(t) for t in range(19))
    assert predictor_of(gpu).predict(frames, FRAME_SIZE) == expected
    assert gpu.attempts == attempts
    assert reads == list(range(19))  # each frame once, in order
    halvings = sum(a > limit for a in attempts)
    assert caplog.text.count("no memory for more frames at once") == halvings


def test_a_failed_attempt_does_not_move_the_key_frames():
    network = scripted(12)
    gpu = SmallGpu(network, 1)
    expected = predictor_of(network, clip_len=3).predict(video_of(12), FRAME_SIZE)
    network.key_frames.clear()
    assert predictor_of(gpu, clip_len=3).predict(video_of(12), FRAME_SIZE) == expected
    assert network.key_frames == [[0], [3], [6], [9]]


def test_no_memory_for_one_frame_is_an_error():
    predictor = predictor_of(SmallGpu(scripted(), 0))
    with pytest.raises(torch.cuda.OutOfMemoryError, match="CUDA out of memory"):
        predictor.predict(video_of(3), FRAME_SIZE)
