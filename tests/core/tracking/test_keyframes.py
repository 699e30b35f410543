from itertools import chain

import numpy as np
import pytest
import torch
from scripted_network import ScriptedNetwork, frame_of, video_of

from mobileinst_core.tracking.association import PreviousKeyframe
from mobileinst_core.tracking.keyframes import KeyframeRunner


def scripted(length: int = 12, queries: int = 4) -> ScriptedNetwork:
    """Random answers whose kernels change a little and keep their order."""
    kernels = torch.randn(queries, 8) + 0.05 * torch.randn(length, queries, 8)
    return ScriptedNetwork(torch.rand(length, queries, 3), kernels, torch.randn(length, 8, 8, 8))


def runner_of(network: ScriptedNetwork, **options: object) -> KeyframeRunner:
    return KeyframeRunner(network.network(), **options)


@pytest.mark.parametrize("clip_len", [1, 3, 4])
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 11])
def test_every_clip_begins_with_a_key_frame(clip_len, chunk):
    network = scripted()
    runner = runner_of(network, clip_len=clip_len)
    video = video_of(11)  # the last clip is not full
    results = []
    for start in range(0, 11, chunk):
        results += runner(video[start : start + chunk])

    expected = [t for t in range(11) if t % clip_len == 0]
    assert [t for t, r in enumerate(results) if r.is_keyframe] == expected
    assert list(chain.from_iterable(network.key_frames)) == expected
    reused = list(chain.from_iterable(network.reused_frames))
    assert reused == [t for t in range(11) if t % clip_len]
    for t, result in enumerate(results):
        key = t - t % clip_len
        np.testing.assert_array_equal(result.scores, network.scores[key])
        mask_logits = torch.einsum("nd,dhw->nhw", network.kernels[key], network.mask_features[t])
        np.testing.assert_allclose(result.mask_logits, mask_logits, atol=1e-4, rtol=1e-4)
        assert (result.network.mask_stride, result.network.mask_upsampling) == (8, 2)


def test_a_network_without_frames_to_do_is_not_called():
    network = scripted()
    runner = runner_of(network, clip_len=3)
    runner(video_of(1))
    assert network.reused_frames == []
    runner([frame_of(1), frame_of(2)])
    assert network.key_frames == [[0]]
    assert network.reused_frames == [[1, 2]]


def test_a_forced_key_frame_starts_a_new_clip():
    network = scripted()
    runner = runner_of(network, clip_len=3)
    flags = [runner([frame_of(t)], force_keyframe=t == 4)[0].is_keyframe for t in range(9)]
    assert [t for t, key in enumerate(flags) if key] == [0, 3, 4, 7]


@pytest.mark.parametrize("failing", ["keyframe", "reuse", "tracker", "masks"])
def test_a_call_that_fails_changes_nothing_and_can_be_repeated(failing):
    network = scripted().permuted([torch.randperm(4) for _ in range(12)])
    expected = runner_of(network, clip_len=3)(video_of(12))
    runner = runner_of(network, clip_len=3)
    runner(video_of(2))

    class Broken(ScriptedNetwork):
        def keyframe(self, frames):
            if failing == "keyframe":
                raise OSError("no keyframe")
            answers = super().keyframe(frames)
            if failing == "tracker":  # the second key frame of the call
                answers["kernels"] = answers["kernels"][:1]
            if failing == "masks":
                answers["mask_features"] = answers["mask_features"][:1]
            return answers

        def reuse(self, frames):
            if failing == "reuse":
                raise OSError("no reuse")
            return super().reuse(frames)

    runner.network = Broken(network.scores, network.kernels, network.mask_features).network()
    with pytest.raises((OSError, IndexError)):
        runner(video_of(12)[2:])
    runner.network = network.network()
    for result, wanted in zip(runner(video_of(12)[2:]), expected[2:], strict=True):
        assert result.is_keyframe == wanted.is_keyframe
        assert np.array_equal(result.scores, wanted.scores)
        assert np.array_equal(result.mask_logits, wanted.mask_logits)


@pytest.mark.parametrize("order", [[0, 0, 1, 2], [0, 1, 2], [0, 1, 2, -1]])
def test_a_tracker_must_give_each_query_once(order):
    class Wrong(PreviousKeyframe):
        def associate(self, kernels, scores):
            return np.array(order)

    runner = runner_of(scripted(), tracker=Wrong())
    with pytest.raises(ValueError, match=r"Wrong gave .* each of the 4 queries once"):
        runner([frame_of(0)])
