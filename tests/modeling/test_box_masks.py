"""Masks around their own foreground are those of the published pipeline."""

import numpy as np
import pytest
import torch
from detectron2.structures import BitMasks

from mobileinst_d2.modeling.box_masks import BoxMasks
from mobileinst_d2.modeling.masks import PastedMasks, PublishedMasks
from mobileinst_d2.modeling.postprocess import MASK_PASTES, predict_instances, read_masks

THRESHOLD = 0.45
# The map at stride 8, the image inside the padded input, and the original.
SIZES = {
    "same size": ((16, 20), (128, 160), (128, 160)),
    "padded": ((16, 20), (101, 133), (101, 133)),
    "larger": ((10, 16), (72, 128), (270, 480)),
    "much larger": ((4, 5), (32, 33), (301, 777)),
    "smaller": ((16, 20), (127, 150), (53, 61)),
    "much smaller": ((16, 20), (128, 160), (7, 5)),
    "other shape": ((16, 16), (128, 128), (90, 201)),
    "one pixel": ((8, 8), (64, 64), (1, 1)),
    "one cell": ((1, 1), (8, 8), (13, 9)),
    "one row": ((1, 20), (5, 160), (31, 160)),
}


def shapes(height: int, width: int) -> torch.Tensor:
    """Logits of objects of many kinds."""
    generator = torch.Generator().manual_seed(0)
    rows, columns = torch.meshgrid(
        torch.linspace(-1, 1, height), torch.linspace(-1, 1, width), indexing="ij"
    )
    far = torch.hypot(rows, columns)
    single = torch.full((9, height, width), -6.0)
    places = ((0, 0), (0, -1), (-1, 0), (-1, -1), (height // 2, width // 2))
    for mask, place in zip(single, places, strict=False):
        mask[place] = 7.0
    single[5, height // 2, :] = 3.0  # thin
    single[6, :, width // 3] = 0.5  # thinner, of which little stays
    single[7, ::3, ::3] = 9.0  # many components
    noise = torch.randn(12, height, width, generator=generator) * 3
    smooth = torch.nn.functional.avg_pool2d(noise[None], 3, 1, 1)[0] * 3
    others = [
        (0.6 - far) * 12,
        (far - 0.3) * (0.7 - far) * 60,  # a ring
        rows * 8,
        torch.full_like(far, 5.0),
        torch.full_like(far, -5.0),
        torch.full_like(far, -0.2),  # just below and just above the threshold
        torch.full_like(far, -0.2007 + 1e-3),
        torch.where(far < 0.5, 500.0, -500.0),
    ]
    return torch.cat([single, noise, noise - 7, smooth, torch.stack(others)])


def everything(masks: BoxMasks | PublishedMasks, count: int, *sizes: tuple[int, int]) -> tuple:
    return masks.quality(), masks.paste(torch.arange(count), *sizes)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_pixels_boxes_and_quality_are_those_of_the_published_pipeline(sizes):
    map_size, *image_and_output = sizes
    logits = shapes(*map_size)
    quality, pasted = everything(BoxMasks(logits, THRESHOLD), len(logits), *image_and_output)
    expected_quality, expected = everything(
        PublishedMasks(logits, THRESHOLD), len(logits), *image_and_output
    )
    torch.testing.assert_close(quality, expected_quality, atol=1e-5, rtol=1e-5)
    assert pasted.shown.tolist() == expected.shown.tolist()
    assert len(pasted.shown) > 5
    # Rounding decides where a probability is as good as the threshold.
    assert (pasted.masks != expected.masks).sum() <= 1e-5 * expected.masks.numel()
    assert torch.equal(pasted.boxes, BitMasks(pasted.masks).get_bounding_boxes().tensor)


@pytest.mark.parametrize("mask_paste", MASK_PASTES)
@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_crops_are_the_masks(sizes, mask_paste):
    map_size, *image_and_output = sizes
    logits = shapes(*map_size)
    masks = read_masks(logits, THRESHOLD, mask_paste)
    pasted = masks.paste(torch.arange(len(logits)), *image_and_output)
    full = dict(zip(pasted.shown.tolist(), pasted.masks.numpy(), strict=True))
    for number, crop in enumerate(masks.crops(torch.arange(len(logits)), *image_and_output)):
        if number not in full:
            assert crop is None
            continue
        mask = np.zeros(image_and_output[1], bool)
        width, height = crop.columns.shape
        mask[crop.top : crop.top + height, crop.left : crop.left + width] = crop.columns.T
        assert (mask != full[number]).sum() <= 1e-5 * mask.size


@pytest.mark.parametrize("threshold", [-0.5, 0.0, 1e-6, 0.2, 0.9, 1.0, 2.0])
def test_every_threshold_is_met(threshold):
    logits = shapes(12, 10)
    sizes = (90, 80), (120, 70)
    quality, pasted = everything(BoxMasks(logits, threshold), len(logits), *sizes)
    expected_quality, expected = everything(PublishedMasks(logits, threshold), len(logits), *sizes)
    torch.testing.assert_close(quality, expected_quality, atol=1e-5, rtol=1e-5)
    assert torch.equal(pasted.shown, expected.shown)
    assert (pasted.masks != expected.masks).sum() <= 1e-4 * expected.masks.numel()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_stays_where_it_is(bad):
    logits = shapes(12, 10)
    logits[:, 3, 4] = bad
    logits[0] = bad
    sizes = (90, 80), (120, 70)
    quality, pasted = everything(BoxMasks(logits, THRESHOLD), len(logits), *sizes)
    expected_quality, expected = everything(PublishedMasks(logits, THRESHOLD), len(logits), *sizes)
    torch.testing.assert_close(quality, expected_quality, atol=1e-4, rtol=1e-4)
    assert pasted.shown.tolist() == expected.shown.tolist()
    assert (pasted.masks != expected.masks).float().mean() < 1e-3


def test_masks_are_asked_for_by_number_in_any_order():
    logits = shapes(12, 10)
    masks = BoxMasks(logits, THRESHOLD)
    everything_pasted = masks.paste(torch.arange(len(logits)), (90, 80), (120, 70))
    numbers = everything_pasted.shown[torch.tensor([5, 2, 2])]
    pasted = masks.paste(numbers, (90, 80), (120, 70))
    assert pasted.shown.tolist() == [0, 1, 2]
    assert torch.equal(pasted.masks, everything_pasted.masks[torch.tensor([5, 2, 2])])


@pytest.mark.parametrize("mask_paste", MASK_PASTES)
def test_no_masks_are_an_empty_result(mask_paste):
    masks = read_masks(torch.zeros(0, 8, 8), THRESHOLD, mask_paste)
    assert masks.quality().shape == (0,)
    pasted = masks.paste(torch.arange(0), (60, 50), (30, 40))
    assert [tuple(x.shape) for x in pasted] == [(0,), (0, 30, 40), (0, 4)]
    assert [x.dtype for x in pasted] == [torch.int64, torch.bool, torch.float32]
    assert list(masks.crops(torch.arange(0), (60, 50), (30, 40))) == []


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_resized_in_single_precision(dtype):
    logits = shapes(12, 10).to(dtype)
    sizes = (90, 80), (120, 70)
    _, pasted = everything(BoxMasks(logits, THRESHOLD), len(logits), *sizes)
    _, expected = everything(PublishedMasks(logits.float(), THRESHOLD), len(logits), *sizes)
    assert torch.equal(pasted.shown, expected.shown)
    assert (pasted.masks != expected.masks).float().mean() < 1e-4


@pytest.mark.parametrize("mask_rescore", [True, False])
def test_instances_are_the_same_both_ways(mask_rescore):
    logits = shapes(12, 10)
    scores = torch.rand(len(logits), 3, generator=torch.Generator().manual_seed(0))
    options = {
        "score_threshold": 0.4,
        "mask_threshold": THRESHOLD,
        "mask_rescore": mask_rescore,
        "max_detections": 20,
    }
    found, expected = (
        predict_instances(scores, logits, (90, 80), (120, 70), **options, mask_paste=mask_paste)
        for mask_paste in ("box", "published")
    )
    assert 10 < len(found) <= 20
    assert found.image_size == (120, 70)
    assert found.pred_classes.tolist() == expected.pred_classes.tolist()
    torch.testing.assert_close(found.scores, expected.scores)
    assert torch.equal(found.pred_masks, expected.pred_masks)
    assert torch.equal(found.pred_boxes.tensor, expected.pred_boxes.tensor)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)


def test_only_what_may_be_reported_is_resized(monkeypatch):
    pasted = []

    def paste(self: BoxMasks, numbers: torch.Tensor, *sizes: tuple[int, int]) -> PastedMasks:
        pasted.append((len(self._logits), len(numbers)))
        return original(self, numbers, *sizes)

    original = BoxMasks.paste
    monkeypatch.setattr(BoxMasks, "paste", paste)
    scores = torch.linspace(0, 1, 10)[:, None]
    options = {"mask_threshold": THRESHOLD, "mask_rescore": True, "max_detections": 3}
    predict_instances(
        scores, torch.ones(10, 4, 4), (32, 32), (32, 32), score_threshold=0.5, **options
    )
    assert pasted == [(5, 3)]


def test_unknown_ways_are_named():
    with pytest.raises(ValueError, match=r"TEST.MASK_PASTE is 'fast', choose one of"):
        read_masks(torch.zeros(1, 4, 4), THRESHOLD, "fast")
