"""Masks around their own foreground are those of the definition."""

import numpy as np
import pytest
import torch
from reference_masks import maskness, paste_probabilities, reference_masks

from mobileinst_core.masks.box_masks import BoxMasks
from mobileinst_core.masks.rle import encode_mask

THRESHOLD = 0.45
# The map of logits, the image inside the padded input, and the original, at stride 8.
SIZES = {
    "same size": ((16, 20), (128, 160), (128, 160)),
    "padded": ((16, 20), (101, 133), (101, 133)),
    "larger": ((10, 16), (72, 128), (180, 320)),
    "much larger": ((4, 5), (32, 33), (151, 389)),
    "smaller": ((16, 20), (127, 150), (53, 61)),
    "much smaller": ((16, 20), (128, 160), (7, 5)),
    "other shape": ((16, 16), (128, 128), (90, 201)),
    "one pixel": ((8, 8), (64, 64), (1, 1)),
    "one cell": ((1, 1), (8, 8), (13, 9)),
    "one row": ((1, 20), (5, 160), (31, 160)),
}
# Those of MobileInst, of SparseInst, of a network with prototypes at stride 4, and others.
SCALES = [(8, 2), (4, 1), (8, 1), (4, 2), (16, 4), (12, 3), (2, 1), (1, 1), (2, 4)]


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


def box_masks(
    logits: torch.Tensor, threshold: float = THRESHOLD, stride: int = 8, upsampling: int = 2
) -> BoxMasks:
    return BoxMasks(logits.numpy(), threshold, stride=stride, upsampling=upsampling)


def check_same(
    logits: torch.Tensor,
    *sizes: tuple[int, int],
    threshold: float = THRESHOLD,
    scale: tuple[int, int] = (8, 2),
    differing: float = 1e-5,
    tolerance: float = 1e-5,
) -> None:
    """Compare all masks with those of the definition."""
    stride, upsampling = scale
    masks = box_masks(logits, threshold, stride, upsampling)
    quality, pasted = masks.quality(), masks.paste(np.arange(len(logits)), *sizes)
    expected = reference_masks(logits, threshold, *sizes, stride=stride, upsampling=upsampling)
    np.testing.assert_allclose(quality, expected.quality, atol=tolerance, rtol=tolerance)
    assert pasted.shown.tolist() == expected.shown.tolist()
    # Rounding decides where a probability is as good as the threshold.
    full = pasted.masks.full()
    assert (full != expected.masks).sum() <= differing * expected.masks.size
    for mask, box in zip(full, pasted.boxes, strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_pixels_boxes_and_quality_are_those_of_the_definition(sizes):
    map_size, *image_and_output = sizes
    logits = shapes(*map_size)
    check_same(logits, *image_and_output)
    assert len(box_masks(logits).paste(np.arange(len(logits)), *image_and_output).shown) > 5


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("padding", [0, 1, 7])
def test_the_logits_may_have_any_stride_and_be_upsampled_by_any_factor(scale, padding):
    logits = shapes(13, 17)
    image_size = (13 * scale[0] - padding, 17 * scale[0] - padding)
    for output_size in (image_size, (70, 101), (9, 8)):
        check_same(logits, image_size, output_size, scale=scale)


@pytest.mark.parametrize("sizes", SIZES.values(), ids=SIZES)
def test_encoded_masks_are_the_masks(sizes):
    map_size, *image_and_output = sizes
    logits = shapes(*map_size)
    everything = np.arange(len(logits)), *image_and_output
    pasted, encoded = (box_masks(logits).paste(*everything, encode=x) for x in (False, True))
    assert encoded.shown.tolist() == pasted.shown.tolist()
    assert np.array_equal(encoded.boxes, pasted.boxes)
    assert encoded.masks == [encode_mask(mask) for mask in pasted.masks.full()]


@pytest.mark.parametrize("threshold", [-0.5, 0.0, 1e-6, 0.2, 0.9, 1.0, 2.0])
def test_every_threshold_is_met(threshold):
    check_same(shapes(12, 10), (90, 80), (120, 70), threshold=threshold, differing=1e-4)


@pytest.mark.parametrize("scale", [(8, 2), (4, 1), (12, 3)])
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_stays_where_it_is(bad, scale):
    logits = shapes(12, 10)
    logits[:, 3, 4] = bad
    logits[0] = bad
    size = (12 * scale[0] - 6, 10 * scale[0])
    check_same(logits, size, (120, 70), scale=scale, differing=1e-3, tolerance=1e-4)


def test_masks_are_asked_for_by_number_in_any_order():
    logits = shapes(12, 10)
    masks = box_masks(logits)
    everything = masks.paste(np.arange(len(logits)), (90, 80), (120, 70))
    pasted = masks.paste(everything.shown[[5, 2, 2]], (90, 80), (120, 70))
    assert pasted.shown.tolist() == [0, 1, 2]
    assert np.array_equal(pasted.masks.full(), everything.masks.full()[[5, 2, 2]])


def test_memory_that_was_used_before_leaves_no_trace(monkeypatch):
    def used_before(shape: tuple[int, ...], dtype: type) -> np.ndarray:
        return np.full(shape, 7).astype(dtype)

    logits = shapes(16, 20)
    everything = np.arange(len(logits)), (101, 133), (270, 480)
    expected = box_masks(logits).paste(*everything).masks.full()
    monkeypatch.setattr("mobileinst_core.masks.box_masks.np.empty", used_before)
    assert (box_masks(logits).paste(*everything).masks.full() == expected).all()


def test_no_masks_are_an_empty_result():
    masks = box_masks(torch.zeros(0, 8, 8))
    assert masks.quality().shape == (0,)
    pasted = masks.paste(np.arange(0), (60, 50), (30, 40))
    pasted = pasted._replace(masks=pasted.masks.full())
    assert [x.shape for x in pasted] == [(0,), (0, 30, 40), (0, 4), (0,)]
    assert [x.dtype for x in pasted] == [np.int64, bool, np.float32, np.float32]


def test_what_lies_in_the_padding_is_cut_off():
    logits = torch.full((1, 8, 8), -9.0)
    logits[:, :, 5:] = 9.0  # right of pixel 40 of 64
    masks = box_masks(logits)
    assert len(masks.paste(np.arange(1), (64, 32), (64, 32)).shown) == 0
    assert masks.paste(np.arange(1), (64, 64), (64, 64)).masks.full()[0, :, 44:].all()


@pytest.mark.parametrize("name", SIZES)
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_resized_logits_are_those_of_the_definition(name, threshold):
    (height, width), image_size, output_size = SIZES[name]
    logits = shapes(height, width)
    padded = tuple(8 * side for side in logits.shape[1:])
    resized = paste_probabilities(logits, padded, image_size, output_size)
    probs = resized.double().sigmoid()
    expected, quality = probs > threshold, maskness(probs, threshold).numpy()

    masks = BoxMasks(logits.numpy(), threshold, stride=8, resize_logits=True)
    pasted = masks.paste(np.arange(len(logits)), image_size, output_size, with_quality=True)
    undecided = ((probs - threshold).abs() < 1e-4).numpy()
    shown = pasted.shown.tolist()
    certain = (expected & ~torch.from_numpy(undecided)).any(2).any(1).nonzero()[:, 0].tolist()
    assert set(certain) <= set(shown)
    for mask, number, value in zip(pasted.masks.full(), shown, pasted.quality, strict=True):
        assert not (mask ^ expected[number].numpy())[~undecided[number]].any()
        if not undecided[number].any():
            assert value == pytest.approx(quality[number], abs=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_logits_that_are_no_numbers_stay_in_their_mask(bad):
    logits = shapes(12, 10).numpy()
    clean = BoxMasks(logits, 0.5, stride=8, resize_logits=True)
    logits = logits.copy()
    logits[1, 3, 4] = bad
    masks = BoxMasks(logits, 0.5, stride=8, resize_logits=True)
    others = np.array([0, 2, 3, 20])
    found, expected = (
        m.paste(others, (96, 80), (120, 90), with_quality=True) for m in (masks, clean)
    )
    assert np.array_equal(found.masks.full(), expected.masks.full())
    assert np.array_equal(found.quality, expected.quality)
    assert np.isfinite(
        masks.paste(np.array([1]), (96, 80), (96, 80), with_quality=True).quality
    ).all()
