import copy
from itertools import chain

import pytest
import torch
from scripted_network import ScriptedNetwork, frame_of, video_of

from mobileinst_d2.tracking import FrameStepper


def scripted(length: int = 12, queries: int = 4) -> ScriptedNetwork:
    """Random answers whose kernels change a little and keep their order."""
    kernels = torch.randn(queries, 8) + 0.05 * torch.randn(length, queries, 8)
    return ScriptedNetwork(torch.rand(length, queries, 3), kernels, torch.randn(length, 8, 8, 8))


def stepper_of(network: ScriptedNetwork, **options: object) -> FrameStepper:
    return FrameStepper(network.keyframe, network.reuse, **options)


@pytest.mark.parametrize("clip_len", [1, 3, 4])
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 11])
def test_every_clip_begins_with_a_key_frame(clip_len, chunk):
    network = scripted()
    stepper = stepper_of(network, clip_len=clip_len)
    video = video_of(11)  # the last clip is not full
    results = []
    for start in range(0, 11, chunk):
        results += stepper(video[start : start + chunk])

    expected = [t for t in range(11) if t % clip_len == 0]
    assert [t for t, r in enumerate(results) if r.is_keyframe] == expected
    assert list(chain.from_iterable(network.key_frames)) == expected
    reused = list(chain.from_iterable(network.reused_frames))
    assert reused == [t for t in range(11) if t % clip_len]
    for t, result in enumerate(results):
        key = t - t % clip_len
        torch.testing.assert_close(result.scores, network.scores[key])
        mask_logits = torch.einsum("nd,dhw->nhw", network.kernels[key], network.mask_features[t])
        torch.testing.assert_close(result.mask_logits, mask_logits, atol=1e-4, rtol=1e-4)


def test_a_network_without_frames_to_do_is_not_called():
    network = scripted()
    stepper = stepper_of(network, clip_len=3)
    stepper(video_of(1))
    assert network.reused_frames == []
    stepper([frame_of(1), frame_of(2)])
    assert network.key_frames == [[0]]
    assert network.reused_frames == [[1, 2]]


def test_frames_of_a_chunk_run_together():
    network = scripted()
    stepper_of(network, clip_len=3)(video_of(8))
    assert network.key_frames == [[0, 3, 6]]
    assert network.reused_frames == [[1, 2, 4, 5, 7]]


def test_a_forced_key_frame_starts_a_new_clip():
    network = scripted()
    stepper = stepper_of(network, clip_len=3)
    flags = [stepper([frame_of(t)], force_keyframe=t == 4)[0].is_keyframe for t in range(9)]
    assert [t for t, key in enumerate(flags) if key] == [0, 3, 4, 7]


def test_forcing_holds_for_the_first_frame_of_a_chunk():
    network = scripted()
    stepper = stepper_of(network, clip_len=4)
    stepper(video_of(2))
    stepper([frame_of(t) for t in range(2, 8)], force_keyframe=True)
    assert network.key_frames == [[0], [2, 6]]


def test_slots_keep_their_kernels_when_queries_change_places():
    network = scripted()
    orders = [torch.randperm(4) for _ in range(12)]
    shuffled = network.permuted(orders)
    expected = stepper_of(network, clip_len=2)(video_of(12))
    results = stepper_of(shuffled, clip_len=2)(video_of(12))
    first = orders[0]  # slots are numbered by the first frame's queries
    for result, wanted in zip(results, expected, strict=True):
        torch.testing.assert_close(result.scores, wanted.scores[first])
        torch.testing.assert_close(result.mask_logits, wanted.mask_logits[first])


@pytest.mark.parametrize("feature", ["kernel", "query"])
def test_what_is_associated_can_be_chosen(feature):
    network = scripted(length=2)
    network.queries = torch.randn(4, 6).repeat(2, 1, 1)
    # Kernels say that the queries have kept their order, query embeddings that they are reversed.
    network.queries[1] = network.queries[0].flip(0)
    results = stepper_of(network, association_feature=feature)(video_of(2))
    expected = network.scores[1] if feature == "kernel" else network.scores[1].flip(0)
    assert torch.equal(results[1].scores, expected)


def test_a_reset_starts_a_new_video():
    network = scripted()
    network = network.permuted([torch.arange(4).roll(t) for t in range(12)])
    stepper = stepper_of(network, clip_len=3)
    stepper([frame_of(5), frame_of(6)])
    stepper.reset()
    results = stepper(video_of(2))
    assert network.key_frames == [[5], [0]]
    expected = stepper_of(network, clip_len=3)(video_of(2))
    for result, wanted in zip(results, expected, strict=True):
        assert torch.equal(result.scores, wanted.scores)
        assert torch.equal(result.mask_logits, wanted.mask_logits)


def test_the_state_goes_on_in_another_stepper():
    network = scripted()
    shuffled = network.permuted([torch.randperm(4) for _ in range(12)])
    whole = stepper_of(shuffled, clip_len=3)(video_of(12))
    begin, end = stepper_of(shuffled, clip_len=3), stepper_of(shuffled, clip_len=3)
    begin(video_of(5))
    end.load_state_dict(copy.deepcopy(begin.state_dict()))
    for result, expected in zip(end(video_of(12)[5:]), whole[5:], strict=True):
        assert result.is_keyframe == expected.is_keyframe
        torch.testing.assert_close(result.scores, expected.scores)
        torch.testing.assert_close(result.mask_logits, expected.mask_logits)


def test_no_frames_give_no_results():
    stepper = stepper_of(scripted())
    assert stepper([]) == []
    assert stepper(video_of(1))[0].is_keyframe


def test_results_carry_no_gradient():
    network = scripted()
    network.kernels.requires_grad_()
    assert not stepper_of(network)(video_of(1))[0].mask_logits.requires_grad


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clip_len": 0}, r"TEST\.TRACKING\.CLIP_LEN is 0"),
        ({"association_feature": "box"}, r"TEST\.TRACKING\.ASSOCIATION_FEATURE is 'box'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        stepper_of(scripted(), **options)


@pytest.mark.parametrize("failing", ["keyframe", "reuse", "tracker", "masks"])
def test_a_call_that_fails_changes_nothing_and_can_be_repeated(failing):
    network = scripted().permuted([torch.randperm(4) for _ in range(12)])
    expected = stepper_of(network, clip_len=3)(video_of(12))
    stepper = stepper_of(network, clip_len=3)
    stepper(video_of(2))

    class Broken(ScriptedNetwork):
        def keyframe(self, frames):
            if failing == "keyframe":
                raise OSError("no keyframe")
            answers = super().keyframe(frames)
            if failing == "tracker":  # the second key frame of the call
                answers["queries"] = answers["kernels"][:1]
            if failing == "masks":
                answers["mask_features"] = answers["mask_features"][:1]
            return answers

        def reuse(self, frames):
            if failing == "reuse":
                raise OSError("no reuse")
            return super().reuse(frames)

    broken = Broken(network.scores, network.kernels, network.mask_features, network.queries)
    stepper._keyframe, stepper._reuse = broken.keyframe, broken.reuse
    stepper.association_feature = "query" if failing == "tracker" else "kernel"
    with pytest.raises((OSError, IndexError)):
        stepper(video_of(12)[2:])
    stepper._keyframe, stepper._reuse = network.keyframe, network.reuse
    stepper.association_feature = "kernel"
    for result, wanted in zip(stepper(video_of(12)[2:]), expected[2:], strict=True):
        assert result.is_keyframe == wanted.is_keyframe
        assert torch.equal(result.scores, wanted.scores)
        torch.testing.assert_close(result.mask_logits, wanted.mask_logits)
