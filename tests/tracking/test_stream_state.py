"""The state of live tracking: it can be saved, it goes on elsewhere, and it does not grow."""

import gc
import io
import sys

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from scripted_network import ScriptedNetwork
from scripted_stream import picture, predictor_of, script
from tiny_models import build_tiny_model, noise_image, tiny_config

from mobileinst_d2.tracking import KernelTracker, StreamingPredictor
from mobileinst_d2.tracking.kernel_tracker import TRACKING_MODES


def saved(state: dict) -> bytes:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    return buffer.getvalue()


def through_a_file(state: dict) -> dict:
    return torch.load(io.BytesIO(saved(state)), weights_only=True)


def check_equal(shown: Instances, expected: Instances) -> None:
    assert shown.image_size == expected.image_size
    assert shown.get_fields().keys() == expected.get_fields().keys()
    for name, value in expected.get_fields().items():
        other = shown.get(name)
        if name == "pred_boxes":
            value, other = value.tensor, other.tensor
        equal = torch.equal(other, value) if isinstance(value, torch.Tensor) else other == value
        assert equal, name


def sliding_window(length: int, size: tuple[int, int] = (64, 96)) -> list[np.ndarray]:
    """Frames of a window that slides over a noise image."""
    scene = noise_image(size[0] + 4 * length, size[1] + 6 * length).permute(1, 2, 0).numpy()
    return [scene[4 * t : 4 * t + size[0], 6 * t : 6 * t + size[1]] for t in range(length)]


@pytest.mark.parametrize("mode", TRACKING_MODES)
@pytest.mark.parametrize("clip_len", [1, 3])
@pytest.mark.parametrize("stop", [0, 1, 5])
def test_a_restored_stream_goes_on_as_if_it_had_never_stopped(lively_model, mode, clip_len, stop):
    cfg = tiny_config(
        TEST__TRACKING__MODE=mode,
        TEST__TRACKING__CLIP_LEN=clip_len,
        TEST__TRACKING__UPDATE_THRESHOLD=0.0,
        TEST__STREAMING__SCORE_ON=0.45,
        TEST__STREAMING__SCORE_OFF=0.44,
        TEST__STREAMING__MAX_LOST=1,
        TEST__STREAMING__SCENE_CUT_THRESHOLD=40.0,
    )
    video = sliding_window(12)
    stream = StreamingPredictor(cfg, lively_model)
    for frame in video[:stop]:
        stream.step(frame)
    state = stream.state_dict()
    # The stream goes on before its state is saved: a state stays what it was.
    expected = [(stream.step(frame), stream.is_keyframe) for frame in video[stop:]]
    assert len({i for shown, _ in expected for i in shown.ID}) > 3

    other = StreamingPredictor(cfg, lively_model)
    other.load_state_dict(through_a_file(state))
    assert other.frame_index == stop - 1
    for frame, (wanted, was_keyframe) in zip(video[stop:], expected, strict=True):
        check_equal(other.step(frame), wanted)
        assert other.is_keyframe == was_keyframe
    assert other.ids_alive() == stream.ids_alive()
    assert saved(other.state_dict()) == saved(stream.state_dict())


@pytest.mark.parametrize("stop", range(8))
def test_nothing_that_identities_and_key_frames_depend_on_is_forgotten(stop):
    on, off = 0.9, 0.0
    network = script(
        [on, off, off, on, off, off, off, on, on],
        [off, on, on, off, on, off, on, off, on],
        [0.4, on, 0.4, 0.4, 0.2, 0.4, 0.4, on, 0.4],
    )
    network.scores = torch.cat([network.scores, network.scores.roll(1, dims=0) * 0.9], dim=2)
    options = {"clip_len": 2, "max_lost": 1, "smoothing": 0.3, "scene_cut_threshold": 15.0}
    brightness = [0, 1, 2, 40, 41, 42, 80, 81, 120]

    def follow(stream: StreamingPredictor, frames: range) -> list[tuple]:
        """What is shown, and whether it came from a key frame."""
        results = []
        for t in frames:
            frame = picture(brightness[t])
            frame[0, 0] = t  # the network looks here
            shown = stream.step(frame)
            results.append((shown.ID, shown.ID_period, shown.scores.tolist(), stream.is_keyframe))
        return results

    stream, other = predictor_of(network, **options), predictor_of(network, **options)
    follow(stream, range(stop))
    other.load_state_dict(through_a_file(stream.state_dict()))
    assert follow(other, range(stop, 9)) == follow(stream, range(stop, 9))


def test_one_state_can_start_two_streams():
    on, off = 0.9, 0.0
    network = script([on, on, off, off, on], [off, off, on, off, on])
    stream = predictor_of(network, max_lost=0)
    stream.step(picture(0))
    state = stream.state_dict()
    for _ in range(2):
        other = predictor_of(network, max_lost=0)
        other.load_state_dict(state)
        assert [other.step(picture(t)).ID for t in (1, 2, 3, 4)] == [[1], [2], [], [3, 4]]


def test_the_past_of_a_predictor_is_forgotten_when_a_state_is_loaded():
    network = script([0.9] * 5, [0.8] * 5)
    fresh, used = predictor_of(network, clip_len=3), predictor_of(network, clip_len=3)
    start = fresh.state_dict()
    for t in range(4):
        used.step(picture(t))
    used.load_state_dict(start)
    assert (used.frame_index, used.is_keyframe, used.slot_frame) == (-1, False, None)
    assert used.timings == {}
    check_equal(used.step(picture(4)), fresh.step(picture(4)))
    assert used.is_keyframe


def random_network(slots: int = 4, classes: int = 3, channels: int = 4) -> ScriptedNetwork:
    return ScriptedNetwork(
        torch.rand(4, slots, classes),
        torch.randn(4, slots, channels),
        torch.randn(4, channels, 8, 8),
    )


OTHERS = [
    ({"slots": 5}, "it has 4 slots, this network 5 slots"),
    ({"classes": 2}, "it has 3 classes, this network 2 classes"),
    ({"slots": 3, "classes": 7}, "it has 4 slots, 3 classes, this network 3 slots, 7 classes"),
]


@pytest.mark.parametrize(("sizes", "message"), OTHERS)
@pytest.mark.parametrize("known", ["by its frames", "from the start"])
def test_a_state_of_another_network_is_refused_at_once(sizes, message, known):
    stream = predictor_of(random_network())
    stream.step(picture(0))
    network = random_network(**sizes)
    if known == "from the start":
        other = predictor_of(network, score_shape=tuple(network.scores.shape[1:]))
    else:
        other = predictor_of(network)
        other.step(picture(0))
    before = saved(other.state_dict())
    with pytest.raises(ValueError, match=message):
        other.load_state_dict(stream.state_dict())
    assert saved(other.state_dict()) == before


@pytest.mark.parametrize(
    ("sizes", "message"),
    [*OTHERS, ({"channels": 6}, "it has 4 kernel channels, this network 6 kernel channels")],
)
def test_at_the_latest_the_next_key_frame_tells_a_state_of_another_network(sizes, message):
    stream, other = predictor_of(random_network()), predictor_of(random_network(**sizes))
    stream.step(picture(0))
    other.load_state_dict(stream.state_dict())
    with pytest.raises(ValueError, match=message):
        other.step(picture(1))


def test_kernels_of_another_network_are_not_reused():
    stream = predictor_of(random_network(), clip_len=3)
    other = predictor_of(random_network(channels=6), clip_len=3)
    stream.step(picture(0))
    other.load_state_dict(stream.state_dict())
    with pytest.raises(ValueError, match="it has 4 kernel channels, this network 6 kernel chan"):
        other.step(picture(1))


@pytest.mark.parametrize("key", ["NUM_CLASSES", "INSTANCE_DECODER.NUM_QUERIES"])
def test_a_predictor_of_a_config_knows_what_states_fit(lively_model, key):
    stream = StreamingPredictor(tiny_config(), lively_model)
    stream.step(sliding_window(1)[0])
    overrides = {f"MODEL__{key.replace('.', '__')}": 7}
    other = StreamingPredictor(tiny_config(**overrides), build_tiny_model(**overrides))
    with pytest.raises(ValueError, match="the state is of another network"):
        other.load_state_dict(stream.state_dict())


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ({"association_feature": "query"}, "ASSOCIATION_FEATURE 'kernel', this .* 'query'"),
        ({"tracker": KernelTracker(mode="ema")}, "MODE 'prev', this tracker has 'ema'"),
    ],
)
def test_a_state_of_another_association_is_refused(option, message):
    stream = predictor_of(random_network())
    stream.step(picture(0))
    with pytest.raises(ValueError, match=message):
        predictor_of(random_network(), **option).load_state_dict(stream.state_dict())


def test_what_is_no_state_is_refused():
    predictor = predictor_of(random_network())
    with pytest.raises(ValueError, match="it lacks frame_index, lifecycle, stepper, thumbnail"):
        predictor.load_state_dict({"model": {}})


def test_identities_are_alive_until_they_cannot_come_back():
    on, off = 0.9, 0.0
    predictor = predictor_of(script([on] * 6, [on, off, off, off, off, on]), max_lost=2)
    assert predictor.ids_alive() == []
    alive = []
    for t in range(6):
        predictor.step(picture(t))
        alive.append(predictor.ids_alive())
    assert alive == [[1, 2], [1, 2], [1, 2], [1], [1], [1, 3]]


@pytest.mark.parametrize(("mode", "steps"), [("prev", 300), ("ema", 300), ("bank", 2000)])
def test_memory_is_flat_over_many_steps(mode, steps):
    numbers = 128  # of different frames
    network = ScriptedNetwork(
        torch.rand(numbers, 4, 3) ** 3,
        torch.randn(numbers, 4, 4),
        torch.randn(numbers, 4, 8, 8),
    )
    tracker = KernelTracker(mode=mode)
    stream = predictor_of(network, clip_len=2, max_lost=1, scene_cut_threshold=0.5, tracker=tracker)

    def run(frames: range) -> None:
        for t in frames:
            stream.step(picture(t % numbers, (24, 32)))
            network.key_frames.clear()
            network.reused_frames.clear()

    def in_memory() -> tuple[int, int, int]:
        """Tensors, blocks of Python's allocator, and bytes of the state."""
        gc.collect()
        blocks = sys.getallocatedblocks()
        tensors = sum(issubclass(type(x), torch.Tensor) for x in gc.get_objects())
        return tensors, blocks, len(saved(stream.state_dict()))

    run(range(50))
    in_memory()  # its own first call
    run(range(50, 100))
    tensors, blocks, state_size = in_memory()
    run(range(100, steps))
    after = in_memory()
    assert stream.ids_alive()[-1] > steps / 20  # much has come and gone
    assert (after[0], after[2]) == (tensors, state_size)
    assert after[1] - blocks < 100  # one per step would be 200 at least
