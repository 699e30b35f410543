"""The modes of association in whole videos and streams, on a network with masks."""

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_util
from scripted_network import FRAME_SIZE, ScriptedNetwork, columns, video_of
from scripted_objects import CROSSING, RETURN_ON_ANOTHER_QUERY, RETURN_ON_ITS_QUERY, record_script
from tiny_models import build_tiny_model, tiny_config

from mobileinst_d2.tracking import FrameStepper, KernelTracker, StreamingPredictor, VideoPredictor

MODES = ("prev", "ema", "bank")


def network_of(script: list[list[int | None]]) -> ScriptedNetwork:
    """A network for a script of two objects; object m is seen in the m-th column of the frame."""
    frames = record_script(script, num_queries=4)
    embeddings = torch.stack([frame.embeddings["kernel"] for frame in frames])
    features = columns(embeddings.shape[2]).repeat(len(frames), 1, 1, 1)
    return ScriptedNetwork(torch.stack([frame.scores for frame in frames]), embeddings, features)


def seen_in(mask: np.ndarray) -> int | None:
    """The object that a mask shows, by its column."""
    shown = np.flatnonzero(mask.any(axis=0))
    return int(shown.mean()) // 8 if len(shown) else None


def whole_video(network: ScriptedNetwork, **options: object) -> list[dict[int, int]]:
    """Per frame the slot of each object."""
    predictor = VideoPredictor(
        keyframe=network.keyframe, reuse=network.reuse, presence_threshold=0.3, **options
    )
    result = predictor.predict(video_of(len(network.scores)), FRAME_SIZE)
    frames: list[dict[int, int]] = [{} for _ in network.scores]
    for slot, track in zip(result["pred_ids"], result["pred_rles"], strict=True):
        for frame, rle in zip(frames, track, strict=True):
            if rle is not None:
                frame[seen_in(mask_util.decode(rle))] = slot
    return frames


def stream(network: ScriptedNetwork, **options: object) -> list[dict[int, int]]:
    """Per frame the identity of each object."""
    predictor = StreamingPredictor(
        keyframe=network.keyframe,
        reuse=network.reuse,
        prepare=lambda frame: torch.from_numpy(frame.transpose(2, 0, 1).copy()),
        smoothing=0.0,
        mask_rescore=False,
        **options,
    )
    frames = []
    for number in range(len(network.scores)):
        shown = predictor.step(np.full((*FRAME_SIZE, 3), number, np.uint8))
        frames.append(
            {seen_in(m.numpy()): i for m, i in zip(shown.pred_masks, shown.ID, strict=True)}
        )
    return frames


@pytest.mark.parametrize("track", [whole_video, stream])
@pytest.mark.parametrize(
    ("script", "kept_by"),
    [
        (CROSSING, MODES),
        (RETURN_ON_ITS_QUERY, MODES),
        (RETURN_ON_ANOTHER_QUERY, ("ema", "bank")),
    ],
)
@pytest.mark.parametrize("mode", MODES)
def test_an_object_keeps_its_identity(track, script, kept_by, mode):
    frames = track(network_of(script), tracker=KernelTracker(mode=mode))
    for shown, queries in zip(frames, script, strict=True):
        assert set(shown) == {m for m, query in enumerate(queries) if query is not None}
    identities = [{shown[m] for shown in frames if m in shown} for m in range(2)]
    assert len(identities[1]) == 1
    assert len(identities[0]) == (1 if mode in kept_by else 2)


@pytest.mark.parametrize("clip_len", [1, 2])
@pytest.mark.parametrize("mode", ["ema", "bank"])
def test_objects_are_remembered_by_query_embeddings_too(mode, clip_len):
    script = RETURN_ON_ANOTHER_QUERY
    network = network_of(script)
    network.kernels = torch.randn_like(network.kernels)  # these say nothing
    stepper = FrameStepper(
        network.keyframe,
        network.reuse,
        clip_len=clip_len,
        association_feature="query",
        tracker=KernelTracker(mode=mode),
    )
    results = stepper(video_of(len(script)))
    for result, queries in list(zip(results, script, strict=True))[::clip_len]:
        assert (result.scores[:2, 0] > 0.5).tolist() == [query is not None for query in queries]


@pytest.mark.parametrize("front_end", [VideoPredictor, StreamingPredictor])
def test_the_association_is_read_from_the_config(front_end):
    cfg = tiny_config(
        TEST__TRACKING__MODE="bank",
        TEST__TRACKING__EMA_MOMENTUM=0.7,
        TEST__TRACKING__BANK_SIZE=5,
        TEST__TRACKING__UPDATE_THRESHOLD=0.6,
    )
    tracker = front_end(cfg, build_tiny_model()).stepper.tracker
    assert (tracker.mode, tracker.ema_momentum) == ("bank", 0.7)
    assert (tracker.bank_size, tracker.update_threshold) == (5, 0.6)
    default = front_end(tiny_config(), build_tiny_model()).stepper.tracker
    assert default.mode == KernelTracker().mode == "prev"


def test_two_front_ends_of_one_config_share_no_state():
    cfg, model = tiny_config(), build_tiny_model()
    trackers = [end(cfg, model).stepper.tracker for end in (VideoPredictor, StreamingPredictor)]
    assert trackers[0] is not trackers[1]
