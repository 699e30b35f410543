"""FastInst as a network of this project: it trains, predicts, tracks and gives graphs."""

import pytest
import torch
from model_inputs import image_input, make_instances
from small_fastinst import NODE, build_small_fastinst
from tiny_models import noise_image

from mobileinst_d2.modeling.criterion import PixelProposals
from mobileinst_d2.modeling.criterion.fastinst import pixel_locations
from mobileinst_d2.modeling.instance_decoder.activation_queries import (
    ActivationQueries,
    activation_rank,
)
from mobileinst_d2.modeling.targets import FrameTargets


def test_no_parameter_starts_with_what_the_memory_held():
    """The public code leaves the positions as ``torch.empty`` gives them, at times NaN."""
    model = build_small_fastinst()
    assert model.decoder.position.std().item() == pytest.approx(0.02, rel=0.1)
    assert all(p.isfinite().all() and p.abs().max() < 10 for p in model.parameters())


def test_small_images_have_as_many_queries_as_pixels():
    head = ActivationQueries(8, 3, 100)
    proposals = head(torch.randn(2, 8, 4, 5), torch.randn(20, 8))
    assert proposals.pixels.sort().values.tolist() == [list(range(20))] * 2
    assert proposals.queries.shape == proposals.position.shape == (2, 20, 8)


def test_the_grid_of_positions_has_its_own_size():
    """The public code gives a model of 10 queries a grid of 3x3."""
    model = build_small_fastinst(**{f"{NODE}NUM_QUERIES": 2, f"{NODE}POSITION_SIZE": 7})
    assert model.decoder.position.shape[-2:] == (7, 7)


def test_queries_are_local_maxima_of_their_class_first():
    logits = torch.full((1, 3, 4, 4), -4.0)
    logits[0, 2] = 4.0  # no object
    logits[0, 0, 0, 0], logits[0, 0, 0, 1] = 7.0, 6.0  # one maximum of class 0 and its slope
    logits[0, 1, 1, 1] = 5.0  # beside both, but of class 1
    logits[0, 0, 3, 3] = 1.0  # weak, and a maximum
    rank = activation_rank(logits)[0]
    order = rank.flatten().argsort(descending=True).tolist()
    assert order[:2] == [0, 5]
    assert order.index(15) < order.index(1)
    assert (rank > 1).flatten()[[0, 5, 15]].all()
    assert rank[0, 1] < 1


def test_no_queries_come_from_the_padding():
    head = ActivationQueries(8, 3, 5)
    with torch.no_grad():
        x = torch.zeros(1, 8, 4, 8)
        x[:, :, :, 4:] = 5.0  # where the padding is, there seems to be something
        head.conv.weight.zero_()[:, :, 1, 1] = 1.0
        head.classifier.weight.fill_(-1.0)[0] = 1.0
        inside = torch.zeros(1, 4, 8)
        inside[:, :, :4] = 1.0
        assert (head(x, torch.zeros(32, 8)).pixels % 8 >= 4).all()
        assert (head(x, torch.zeros(32, 8), inside).pixels % 8 < 4).all()

    model = build_small_fastinst().eval()
    small, wide = noise_image(64, 64), noise_image(90, 190)
    with torch.no_grad():
        batch = model.preprocess_image([{"image": small}, {"image": wide}])
        pixels, _ = model.raw_outputs(batch.tensor).proposals.pixels
        # Those of a map of 6x12, of which the image fills 4x4.
        assert (pixels % 12 < 4).all()
        assert (pixels // 12 < 4).all()
        published = build_small_fastinst(**{f"{NODE}IGNORE_PADDING": False}).eval()
        assert published._inside(batch.tensor) is None


def test_padding_is_not_trained_as_background():
    criterion = build_small_fastinst().criterion
    logits = torch.randn(2, 5, 4, 8)
    masks = torch.zeros(2, 64, 128)
    masks[:, 10:40, 20:60] = 1
    labels = torch.tensor([0, 2])
    whole = [FrameTargets(labels, masks, labels), FrameTargets(labels[:0], masks[:0], labels[:0])]
    left = [t._replace(masks=t.masks[:, :, :64]) for t in whole]
    pixels = torch.zeros(2, 3, dtype=torch.int64)
    inside = torch.zeros(2, 4, 8)
    inside[:, :, :4] = 1
    expected = criterion._proposal_loss(PixelProposals(logits[..., :4], pixels), left)
    found = criterion._proposal_loss(PixelProposals(logits, pixels, inside), whole)
    torch.testing.assert_close(found, expected)


def test_masks_that_vanish_at_the_resolution_of_the_attention_look_everywhere():
    tiny = image_input(64, 64, objects=0)
    tiny["instances"] = make_instances((64, 64), [(1, 1, 3, 3)])
    losses = build_small_fastinst()([tiny])
    assert all(value.isfinite() for value in losses.values())


def test_locations_are_those_of_the_public_code():
    pixels = torch.tensor([[0, 5, 11]])
    locations = pixel_locations(pixels, (3, 4))[0]
    torch.testing.assert_close(locations, torch.tensor([[0, 0], [1 / 3, 0.5], [1, 1]]))
