"""Query passing on a scripted network: two objects swap their queries between two frames.

Both objects move from frame to frame. The masks of frame 0 come from query 0 for object A and from
query 1 for object B, those of frame 1 the other way round. Passed to the other frame, query 1 still
finds B, but query 0 finds A only faintly, and query 2, which finds nothing in its own frame, finds
A best.
"""

import pytest
import torch
from model_inputs import clip_input
from tiny_models import FEW_LAYERS, build_tiny_model
from torch import nn

from mobileinst_d2.modeling.instance_decoder import InstancePredictions
from mobileinst_d2.modeling.layers import bilinear_resize, mask_product
from mobileinst_d2.modeling.losses import paired_dice
from mobileinst_d2.modeling.mask_decoder import MaskDecoderOutput

SIZE = (64, 64)
# Where A and B are, in frames 0, 1 and 2.
A = [(0, 0, 32, 32), (0, 32, 32, 64), (32, 32, 64, 64)]
B = [(32, 32, 64, 64), (32, 0, 64, 32), (0, 0, 32, 32)]
OBJECTS = [list(boxes) for boxes in zip(A, B, strict=True)]
ON_A, ON_B, FAINTLY_ON_A, NOWHERE = [8.0, 0.0], [0.0, 8.0], [1.0, 0.0], [0.0, 0.0]
KERNELS = [[ON_A, ON_B, NOWHERE], [ON_B, ON_A, NOWHERE], [ON_A, ON_B, NOWHERE]]
PASSED = [FAINTLY_ON_A, ON_B, ON_A]
MASK_WEIGHT = 2.0


class FrameNumbers(nn.Module):
    """Stands for the backbone: the global feature of a frame is its number in the batch."""

    size_divisibility = 64

    def forward(self, images):
        return {"x6": torch.arange(len(images)) % len(OBJECTS)}


class ObjectMaps(nn.Module):
    """Stands for the mask decoder: channel n is high where object n is."""

    def forward(self, features):
        maps = torch.full((len(OBJECTS), 2, SIZE[0] // 8, SIZE[1] // 8), -1.0)
        for boxes, frame in zip(OBJECTS, maps, strict=True):
            for (top, left, bottom, right), channel in zip(boxes, frame, strict=True):
                channel[top // 8 : bottom // 8, left // 8 : right // 8] = 1.0
        return MaskDecoderOutput(*[maps[features["x6"]]] * 3)


class ScriptedQueries(nn.Module):
    """Stands for the instance decoder; a passed query is its kernel in the other frame."""

    def __init__(self):
        super().__init__()
        self.kernels = nn.Parameter(torch.tensor(KERNELS))
        self.passing = nn.Parameter(torch.tensor([PASSED] * len(OBJECTS)))

    def forward(self, mask_output, x_global):
        return self.predict(self.kernels[x_global], self.passing[x_global])

    def decode_passed(self, passed, mask_output, x_global):
        return self.predict(passed, passed)

    def predict(self, kernels, passing):
        classes = torch.zeros(*kernels.shape[:2], 4)
        return InstancePredictions(classes, classes[..., 0], kernels, kernels, passing)


def scripted_model(passing: str = "shared") -> nn.Module:
    """The network of the config, with QUERY_PASSING as given, on the scripted parts."""
    model = build_tiny_model(**FEW_LAYERS, MODEL__MOBILEINST__QUERY_PASSING=passing)
    model.backbone, model.mask_decoder = FrameNumbers(), ObjectMaps()
    model.instance_decoder = ScriptedQueries()
    model.passed = []  # what the criterion is given
    model.criterion.register_forward_pre_hook(lambda _, args: model.passed.append(args[2]))
    return model


def clip(*frames: list) -> dict:
    """A clip of the scripted frames; by default both objects are seen in both."""
    return clip_input(frames or OBJECTS[:2], *SIZE)


def passed_losses(losses: dict) -> tuple[float, float]:
    return losses["loss_passed_dice"].item(), losses["loss_passed_mask"].item()


def expected_losses(
    supervised: list[tuple[int, int]], frame: int = 1, num_objects: int = 2
) -> tuple[float, float]:
    """Dice and pixel-wise loss of passed (query, object) pairs in a frame."""
    maps = ObjectMaps()({"x6": torch.tensor([frame])})
    logits = mask_product(torch.tensor([PASSED]), maps.mask_features)
    logits = bilinear_resize(logits, (16, 16))[0]
    wanted = torch.zeros(2, SIZE[0] // 4, SIZE[1] // 4)
    for mask, (top, left, bottom, right) in zip(wanted, OBJECTS[frame], strict=True):
        mask[top // 4 : bottom // 4, left // 4 : right // 4] = 1.0
    queries, objects = map(list, zip(*supervised, strict=True))
    logits, wanted = logits[queries].flatten(1), wanted[objects].flatten(1)
    dice = (1 - paired_dice(logits.sigmoid(), wanted)).sum() / num_objects
    pixels = nn.functional.binary_cross_entropy_with_logits(logits, wanted)
    return MASK_WEIGHT * dice.item(), MASK_WEIGHT * pixels.item()


# The (query, object) pairs that are supervised in frame 1 when both objects are seen in both.
WAYS = {
    "shared": [(1, 0), (0, 1)],  # as frame 1 itself matches: each is told to find the other
    "identity": [(0, 0), (1, 1)],  # as in frame 0
    "own": [(2, 0), (1, 1)],  # whatever fits the passed masks best
}


@pytest.mark.parametrize("match", WAYS)
def test_match_chooses_the_object_of_a_passed_query(match):
    model = scripted_model(match)
    losses = model([clip()])
    assert passed_losses(losses) == pytest.approx(expected_losses(WAYS[match]), rel=1e-4)
    (losses["loss_passed_dice"] + losses["loss_passed_mask"]).backward()
    touched = model.instance_decoder.passing.grad[0].abs().amax(1) > 0
    assert set(touched.nonzero()[:, 0].tolist()) == {query for query, _ in WAYS[match]}


@pytest.mark.parametrize(
    ("frames", "match", "supervised", "num_objects"),
    [
        # B leaves: nothing is there for the query that found it.
        (([A[0], B[0]], [A[1], None]), "shared", [(1, 0)], 1),
        (([A[0], B[0]], [A[1], None]), "identity", [(0, 0)], 1),
        (([A[0], B[0]], [A[1], None]), "own", [(2, 0)], 1),
        # B comes: no query of frame 0 has found it, so with "identity" none is told to.
        (([A[0], None], [A[1], B[1]]), "shared", [(1, 0), (0, 1)], 2),
        (([A[0], None], [A[1], B[1]]), "identity", [(0, 0)], 2),
        (([A[0], None], [A[1], B[1]]), "own", [(2, 0), (1, 1)], 2),
    ],
)
def test_an_object_that_one_frame_shows(frames, match, supervised, num_objects):
    losses = scripted_model(match)([clip(*frames)])
    expected = expected_losses(supervised, num_objects=num_objects)
    assert passed_losses(losses) == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("match", WAYS)
@pytest.mark.parametrize("frames", [([], []), ([A[0], None], [None, None])], ids=["none", "gone"])
def test_without_objects_passed_queries_cost_nothing(match, frames):
    model = scripted_model(match)
    losses = model([clip(*frames)])
    assert passed_losses(losses) == (0, 0)
    sum(losses.values()).backward()
    assert model.instance_decoder.passing.grad.abs().max() == 0


def test_with_identity_an_object_without_a_common_frame_costs_nothing():
    losses = scripted_model("identity")([clip([A[0], None], [None, B[1]])])
    assert passed_losses(losses) == (0, 0)


@pytest.mark.parametrize(
    ("lengths", "pairs"),
    [
        ([2], [(0, 1)]),
        ([3, 3], [(0, 1), (1, 2), (3, 4), (4, 5)]),
        ([1, 2, 2], [(1, 2), (3, 4)]),  # one frame between others
    ],
)
def test_each_frame_passes_to_the_next(lengths, pairs):
    model = scripted_model()
    model([clip(*OBJECTS[:length]) for length in lengths])
    (passed,) = model.passed
    assert list(zip(passed.sources, passed.frames, strict=True)) == pairs
    assert len(passed.mask_logits) == len(passed.class_logits) == len(pairs)


def test_the_loss_does_not_grow_with_the_number_of_clips():
    model = scripted_model()
    one = passed_losses(model([clip(*OBJECTS)]))
    assert passed_losses(model([clip(*OBJECTS), clip(*OBJECTS)])) == pytest.approx(one, rel=1e-4)


@pytest.mark.parametrize(("passing", "frames"), [("shared", OBJECTS[:1]), ("none", OBJECTS[:2])])
def test_nothing_is_passed_in_clips_of_one_frame_or_if_switched_off(passing, frames):
    model = scripted_model(passing)
    losses = model([clip(*frames)])
    assert model.passed == [None]
    assert not [name for name in losses if "passed" in name]
