import numpy as np
import pytest
import torch
from reference_masks import maskness, paste_probabilities, reference_masks

from mobileinst_core import postprocessing
from mobileinst_core.detections import Detections
from mobileinst_core.errors import ConfigError
from mobileinst_core.postprocessing import PostProcessing, mask_product
from mobileinst_core.prototype_masks import PrototypePostProcessing


def array(*rows: list[float] | float) -> np.ndarray:
    return np.array(rows, np.float32)


def select(
    scores: np.ndarray, quality: np.ndarray | None, *, labels: str = "best", **options: float
) -> list[list]:
    return [x.tolist() for x in PostProcessing(**options).select(scores, quality, labels=labels)]


# None, one, in one piece, in pieces of which the last is shorter, and too many for those.
@pytest.mark.parametrize("small_product", [0, 1_000_000])
@pytest.mark.parametrize(
    ("count", "shape"),
    [(0, (4, 5, 6)), (1, (4, 5, 6)), (3, (4, 5, 6)), (5, (128, 41, 79)), (50, (128, 5, 6))],
)
def test_masks_are_kernels_times_mask_features(count, shape, small_product, monkeypatch):
    monkeypatch.setattr(postprocessing, "SMALL_PRODUCT", small_product)
    generator = np.random.default_rng(0)
    kernels = generator.standard_normal((count, shape[0]), np.float32)
    features = generator.standard_normal(shape, np.float32)
    expected = np.einsum("nd,dhw->nhw", kernels.astype(np.float64), features)
    logits = mask_product(kernels, features)
    assert logits.flags.c_contiguous
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, atol=1e-4, rtol=1e-5)


def test_selecting_the_best_class_of_each_query():
    scores = array([0.1, 0.6], [0.9, 0.8], [0.3, 0.2], [0.05, 0.04])
    queries, classes, values = select(
        scores, array(1.0, 0.5, 1.0, 1.0), score_threshold=0.05, max_detections=2
    )
    assert queries == [0, 1]
    assert classes == [1, 0]
    assert values == pytest.approx([0.6, 0.45])


def test_selecting_all_classes_of_each_query():
    scores = array([0.1, 0.6], [0.9, 0.8], [0.3, 0.2])
    queries, classes, values = select(
        scores, None, score_threshold=0.2, max_detections=10, labels="all"
    )
    assert list(zip(queries, classes, strict=True)) == [(1, 0), (1, 1), (0, 1), (2, 0)]
    assert values == pytest.approx([0.9, 0.8, 0.6, 0.3])


def test_the_threshold_is_on_the_class_score_alone():
    queries, _, values = select(array([0.5], [0.2]), array(0.1, 1.0), score_threshold=0.2)
    assert queries == [0]
    assert values == pytest.approx([0.05])


@pytest.mark.parametrize("labels", ["best", "all"])
@pytest.mark.parametrize("bad", [float("nan"), 0.0])
def test_queries_without_a_mask_or_a_number_are_not_selected(labels, bad):
    options = {"score_threshold": 0.1, "labels": labels}
    assert select(array([0.5], [0.4]), array(bad, 1.0), **options)[0] == [1]
    assert select(array([float("nan")], [0.4]), array(1.0, 1.0), **options)[0] == [1]


@pytest.mark.parametrize("kind", [PostProcessing, PrototypePostProcessing])
@pytest.mark.parametrize(
    "option",
    [{"mask_threshold": 45.0}, {"score_threshold": -0.1}, {"max_detections": 0}]
    + [{"mask_threshold": float("nan")}],
)
def test_values_with_which_nothing_would_be_found_are_refused(kind, option):
    with pytest.raises(ConfigError, match=f"{next(iter(option))} is "):
        kind(**option)


def random_outputs(stride: int = 8, count: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Scores and mask logits of an input of 96x80 pixels."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.rand(count, 3, generator=generator)
    coarse = torch.randn(1, count, 6, 5, generator=generator) * 4
    size = (96 // stride, 80 // stride)
    logits = torch.nn.functional.interpolate(coarse, size=size, mode="bicubic")[0]
    return scores.numpy(), logits.numpy()


@pytest.mark.parametrize(("stride", "upsampling"), [(8, 2), (4, 1)])
@pytest.mark.parametrize("mask_rescore", [True, False])
def test_detections_are_those_of_the_definition(mask_rescore, stride, upsampling):
    scores, logits = random_outputs(stride)
    postprocessing = PostProcessing(
        score_threshold=0.4, mask_rescore=mask_rescore, max_detections=20
    )
    found = postprocessing.predict(
        scores,
        logits,
        image_size=(90, 80),
        output_size=(120, 70),
        mask_stride=stride,
        mask_upsampling=upsampling,
    )

    reference = reference_masks(
        torch.from_numpy(logits), 0.45, (90, 80), (120, 70), stride=stride, upsampling=upsampling
    )
    masks = dict(zip(reference.shown.tolist(), reference.masks, strict=True))
    best = scores.max(1)
    values = best * reference.quality if mask_rescore else best
    expected = [n for n in np.argsort(-values) if best[n] > 0.4][:20]
    assert 10 < len(found) <= 20
    assert found.image_size == (120, 70)
    assert found.classes.tolist() == scores.argmax(1)[expected].tolist()
    np.testing.assert_allclose(found.scores, values[expected], rtol=1e-5)
    assert found.scores.tolist() == sorted(found.scores.tolist(), reverse=True)
    assert np.array_equal(found.masks, [masks[n] for n in expected])
    for mask, box in zip(found.masks, found.boxes, strict=True):
        rows, columns = np.nonzero(mask)
        assert box.tolist() == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def predict(postprocessing: PostProcessing, scores: np.ndarray, logits: np.ndarray) -> Detections:
    size = (8 * logits.shape[1], 8 * logits.shape[2])
    return postprocessing.predict(
        scores, logits, image_size=size, output_size=size, mask_stride=8, mask_upsampling=2
    )


def test_nothing_found_is_an_empty_result():
    found = predict(PostProcessing(), np.zeros((10, 2), np.float32), np.ones((10, 4, 4)))
    assert len(found) == 0
    assert found.image_size == (32, 32)
    assert [x.shape for x in (found.boxes, found.scores, found.classes)] == [(0, 4), (0,), (0,)]
    assert found.ids is None


@pytest.mark.parametrize("mask_rescore", [True, False])
def test_pairs_are_chosen_before_their_masks_count(mask_rescore):
    scores, logits = random_outputs()
    sizes = ((90, 80), (120, 70))
    found = PostProcessing(
        score_threshold=0.2,
        mask_threshold=0.5,
        mask_rescore=mask_rescore,
        max_detections=30,
        procedure="mask2former",
    ).predict(scores, logits, image_size=sizes[0], output_size=sizes[1], mask_stride=8)

    resized = paste_probabilities(torch.from_numpy(logits), (96, 80), *sizes)
    masks, quality = (resized > 0).numpy(), maskness(resized.sigmoid(), 0.5).numpy()
    pairs = np.argsort(-scores, axis=None)[:30]
    queries, classes = np.unravel_index(pairs, scores.shape)
    values = scores[queries, classes] * (quality[queries] if mask_rescore else 1)
    order = [n for n in np.argsort(-values) if masks[queries[n]].any()]
    assert len(set(queries.tolist())) < len(queries)
    assert len(found) == len(order) > 20
    assert found.classes.tolist() == classes[order].tolist()
    np.testing.assert_allclose(found.scores, values[order], rtol=1e-5)
    assert np.array_equal(found.masks, masks[queries[order]])
    assert found.boxes.shape == (len(order), 4)
