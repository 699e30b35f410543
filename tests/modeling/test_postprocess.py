import numpy as np
import pytest
import torch
from naive_resize import naive_resize

from mobileinst_d2.modeling.postprocess import (
    instance_scores,
    mask_product,
    maskness,
    paste_masks,
    select_instances,
    upsample_mask_logits,
)


def test_masks_are_kernels_times_mask_features():
    kernels, features = torch.randn(2, 3, 4), torch.randn(2, 4, 5, 6)
    expected = torch.zeros(2, 3, 5, 6)
    for b in range(2):
        for n in range(3):
            expected[b, n] = sum(kernels[b, n, d] * features[b, d] for d in range(4))
    torch.testing.assert_close(mask_product(kernels, features), expected, atol=1e-5, rtol=1e-5)


def test_mask_logits_grow_to_twice_the_size():
    logits = torch.randn(1, 2, 3, 5)
    out = upsample_mask_logits(logits)
    expected = np.stack([naive_resize(x, (6, 10)) for x in logits[0].numpy()])
    np.testing.assert_allclose(out[0].numpy(), expected, atol=1e-5)


def test_scores_are_the_geometric_mean_of_class_and_objectness():
    class_logits, objectness_logits = torch.randn(2, 4, 3), torch.randn(2, 4)
    scores = instance_scores(class_logits, objectness_logits)
    for b, n, k in np.ndindex(2, 4, 3):
        product = class_logits[b, n, k].sigmoid() * objectness_logits[b, n].sigmoid()
        assert scores[b, n, k].item() == pytest.approx(product.item() ** 0.5, rel=1e-5)


def test_maskness_is_the_mean_probability_of_the_foreground():
    probs = torch.rand(4, 5, 6)
    probs[3] *= 0.45  # no foreground
    expected = []
    for mask in probs.flatten(1).tolist():
        foreground = [p for p in mask if p > 0.45]
        expected.append(sum(foreground) / len(foreground) if foreground else 0.0)
    quality = maskness(probs, 0.45)
    assert quality.tolist() == pytest.approx(expected, rel=1e-4)
    assert quality[3] == 0


def test_selecting_the_best_class_of_each_query():
    scores = torch.tensor([[0.1, 0.6], [0.9, 0.8], [0.3, 0.2], [0.05, 0.04]])
    quality = torch.tensor([1.0, 0.5, 1.0, 1.0])
    queries, labels, values = select_instances(
        scores, quality, score_threshold=0.05, max_detections=2
    )
    assert queries.tolist() == [0, 1]
    assert labels.tolist() == [1, 0]
    assert values.tolist() == pytest.approx([0.6, 0.45])


def test_selecting_all_classes_of_each_query():
    scores = torch.tensor([[0.1, 0.6], [0.9, 0.8], [0.3, 0.2]])
    queries, labels, values = select_instances(
        scores, None, score_threshold=0.2, max_detections=10, labels="all"
    )
    assert list(zip(queries.tolist(), labels.tolist(), strict=True)) == [
        (1, 0),
        (1, 1),
        (0, 1),
        (2, 0),
    ]
    assert values.tolist() == pytest.approx([0.9, 0.8, 0.6, 0.3])


def test_the_threshold_is_on_the_class_score_alone():
    scores = torch.tensor([[0.5], [0.2]])
    quality = torch.tensor([0.1, 1.0])
    queries, _, values = select_instances(scores, quality, score_threshold=0.2, max_detections=5)
    assert queries.tolist() == [0]
    assert values.item() == pytest.approx(0.05)


@pytest.mark.parametrize("labels", ["best", "all"])
@pytest.mark.parametrize("bad", [float("nan"), 0.0])
def test_queries_without_a_mask_or_a_number_are_not_selected(labels, bad):
    options = {"score_threshold": 0.1, "max_detections": 5, "labels": labels}
    scores = torch.tensor([[0.5], [0.4]])
    queries, _, _ = select_instances(scores, torch.tensor([bad, 1.0]), **options)
    assert queries.tolist() == [1]
    scores = torch.tensor([[float("nan")], [0.4]])
    queries, _, _ = select_instances(scores, torch.ones(2), **options)
    assert queries.tolist() == [1]


def test_equal_scores_keep_the_order_of_the_queries():
    queries, _, _ = select_instances(
        torch.full((50, 2), 0.5), None, score_threshold=0, max_detections=50
    )
    assert queries.tolist() == list(range(50))


def test_unknown_label_rules_are_named():
    with pytest.raises(ValueError, match=r"LABELS_PER_TRACK is 'first'"):
        select_instances(
            torch.ones(1, 1), None, score_threshold=0, max_detections=1, labels="first"
        )


@pytest.mark.parametrize("output_size", [(20, 27), (40, 55), (87, 31)])
def test_masks_are_cropped_and_pasted_at_the_original_size(output_size):
    image_size = (20, 27)
    logits = torch.randn(3, 8, 8) * 2  # an input padded to 32x32
    masks = paste_masks(logits, image_size, output_size, 0.45)
    assert masks.shape == (3, *output_size)
    assert masks.dtype == torch.bool
    for mask, x in zip(masks.numpy(), logits.sigmoid().double().numpy(), strict=True):
        full = naive_resize(x, (32, 32))[: image_size[0], : image_size[1]]
        expected = naive_resize(full, output_size)
        clear = np.abs(expected - 0.45) > 1e-5
        assert clear.mean() > 0.99
        assert np.array_equal(mask[clear], (expected > 0.45)[clear])


def test_what_lies_in_the_padding_is_cut_off():
    logits = torch.full((1, 16, 16), -9.0)
    logits[:, :, 10:] = 9.0  # right of pixel 40 of 64
    assert not paste_masks(logits, (64, 36), (64, 36), 0.45).any()
    assert paste_masks(logits, (64, 64), (64, 64), 0.45)[0, :, 44:].all()


def test_no_masks_are_pasted_to_no_masks():
    masks = paste_masks(torch.zeros(0, 8, 8), (30, 30), (50, 60), 0.45)
    assert masks.shape == (0, 50, 60)
    assert masks.dtype == torch.bool


def test_maskness_counts_no_pixels_of_no_number():
    probs = torch.full((3, 4, 4), 0.6)
    probs[0, 0] = float("nan")
    probs[1] = float("nan")
    assert maskness(probs, 0.45).tolist() == pytest.approx([0.6, 0.0, 0.6], rel=1e-4)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_maskness_sums_large_masks_of_half_precision(dtype):
    # The foreground has more pixels than the largest number of float16.
    quality = maskness(torch.full((1, 300, 300), 0.75, dtype=dtype), 0.45)
    assert quality.item() == pytest.approx(0.75, rel=1e-3)
