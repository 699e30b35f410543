"""The modes of association in whole videos and streams, on a network with masks."""

import numpy as np
import pytest
import torch
from pycocotools import mask as mask_util
from scripted_network import FRAME_SIZE, ScriptedNetwork, columns, video_of
from scripted_objects import CROSSING, RETURN_ON_ANOTHER_QUERY, RETURN_ON_ITS_QUERY, record_script

from mobileinst_core.postprocessing import PostProcessing
from mobileinst_core.tracking.build import TRACKING_MODES, build_tracker
from mobileinst_core.tracking.offline import OfflineTracker
from mobileinst_core.tracking.online import OnlineTracker


def network_of(script: list[list[int | None]]) -> ScriptedNetwork:
    """A network for a script of two objects; object m is seen in the m-th column of the frame."""
    frames = record_script(script, num_queries=4)
    kernels = torch.stack([frame.kernels for frame in frames])
    features = columns(kernels.shape[2]).repeat(len(frames), 1, 1, 1)
    return ScriptedNetwork(torch.stack([frame.scores for frame in frames]), kernels, features)


def seen_in(mask: np.ndarray) -> int | None:
    """The object that a mask shows, by its column."""
    shown = np.flatnonzero(mask.any(axis=0))
    return int(shown.mean()) // 8 if len(shown) else None


def whole_video(network: ScriptedNetwork, **options: object) -> list[dict[int, int]]:
    """Per frame the track of each object."""
    tracker = OfflineTracker(network.network(), presence_threshold=0.3, **options)
    result = tracker.predict(video_of(len(network.scores)), FRAME_SIZE)
    frames: list[dict[int, int]] = [{} for _ in network.scores]
    for track, masks in zip(result["pred_ids"], result["pred_rles"], strict=True):
        for frame, rle in zip(frames, masks, strict=True):
            if rle is not None:
                frame[seen_in(mask_util.decode(rle))] = track
    return frames


def stream(network: ScriptedNetwork, **options: object) -> list[dict[int, int]]:
    """Per frame the identity of each object."""
    tracker = OnlineTracker(
        network.network(),
        prepare=lambda frame: frame.transpose(2, 0, 1).copy(),
        postprocessing=PostProcessing(mask_rescore=False),
        smoothing=0.0,
        **options,
    )
    frames = []
    for number in range(len(network.scores)):
        shown = tracker.step(np.full((*FRAME_SIZE, 3), number, np.uint8))
        frames.append({seen_in(m): int(i) for m, i in zip(shown.masks, shown.ids, strict=True)})
    return frames


@pytest.mark.parametrize("track", [whole_video, stream])
@pytest.mark.parametrize(
    ("script", "kept_by"),
    [
        (CROSSING, TRACKING_MODES),
        (RETURN_ON_ITS_QUERY, TRACKING_MODES),
        (RETURN_ON_ANOTHER_QUERY, ("ema",)),
    ],
)
@pytest.mark.parametrize("mode", TRACKING_MODES)
def test_an_object_keeps_its_identity(track, script, kept_by, mode):
    frames = track(network_of(script), tracker=build_tracker(mode))
    for shown, queries in zip(frames, script, strict=True):
        assert set(shown) == {m for m, query in enumerate(queries) if query is not None}
    identities = [{shown[m] for shown in frames if m in shown} for m in range(2)]
    assert len(identities[1]) == 1
    assert len(identities[0]) == (1 if mode in kept_by else 2)
