import pytest
import torch
from detectron2.structures import Boxes
from model_inputs import clip_input
from tiny_models import FEW_LAYERS, build_lively_model, build_tiny_model, noise_image
from torch import nn

from mobileinst_d2.modeling.meta_arch.base import instance_scores


def predict(model: nn.Module, *inputs: dict):
    with torch.no_grad():
        return [result["instances"] for result in model(list(inputs))]


@pytest.mark.parametrize("size", [(96, 128), (70, 131), (1, 1)])
@pytest.mark.parametrize("output_size", [None, (117, 53)])
def test_instances_have_the_original_size_and_every_field(lively_model, size, output_size):
    item = {"image": noise_image(*size)}
    if output_size:
        item |= {"height": output_size[0], "width": output_size[1]}
    (result,) = predict(lively_model, item)
    count = len(result)
    assert count > 0
    assert result.image_size == (output_size or size)
    assert result.pred_masks.shape == (count, *result.image_size)
    assert result.pred_masks.dtype == torch.bool
    assert result.pred_masks.flatten(1).any(1).all()
    assert result.pred_classes.dtype == torch.int64
    assert result.scores.shape == (count,)
    assert torch.equal(result.scores, result.scores.sort(descending=True).values)
    assert isinstance(result.pred_boxes, Boxes)


def test_scores_are_those_of_the_raw_outputs(lively_model):
    image = {"image": noise_image(96, 128)}
    (result,) = predict(lively_model, image)
    with torch.no_grad():
        raw = lively_model.raw_outputs(lively_model.preprocess_image([image]).tensor)
    probs = raw["mask_logits"][0].sigmoid()
    expected = []
    for n in range(20):
        best = raw["class_logits"][0, n].max().sigmoid() * raw["objectness_logits"][0, n].sigmoid()
        foreground = probs[n][probs[n] > 0.45]
        if len(foreground):
            expected.append((best.sqrt() * foreground.mean()).item())
    assert len(result) == len(expected)
    assert result.scores.tolist() == pytest.approx(sorted(expected, reverse=True), rel=1e-4)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("part", ["class_head", "objectness_head", "kernel_head"])
def test_a_diverged_network_does_not_crash(part, bad):
    model = build_lively_model(**FEW_LAYERS)
    with torch.no_grad():
        next(getattr(model.instance_decoder, part).parameters()).fill_(bad)
    (result,) = predict(model, {"image": noise_image(96, 128)})
    assert result.scores.isfinite().all()
    assert len(result) == 0 or bad == float("inf")


def test_an_image_of_no_numbers_gives_nothing(lively_model):
    bad = torch.full((3, 96, 128), float("nan"))
    results = predict(lively_model, {"image": bad}, {"image": noise_image(96, 128)})
    assert len(results[0]) == 0
    assert len(results[1]) > 0


def test_images_of_a_batch_do_not_see_each_other(lively_model):
    # Guaranteed: an image sees its own pixels and the padded size, nothing of its neighbours.
    # Not guaranteed: the same result for another padded size, as the transformer attends to the
    # padding too.
    image, other = {"image": noise_image(128, 128)}, {"image": noise_image(120, 90, seed=1)}
    (alone,) = predict(lively_model, image)
    for found in (predict(lively_model, image, other)[0], predict(lively_model, other, image)[1]):
        torch.testing.assert_close(found.scores, alone.scores, atol=1e-5, rtol=1e-4)
        assert (found.pred_masks != alone.pred_masks).float().mean() < 1e-3


def test_a_video_is_sent_to_the_video_predictor(lively_model):
    clip = clip_input([[], []]) | {"video_id": 7}
    with pytest.raises(ValueError, match=r"video 7: .*VideoPredictor"):
        predict(lively_model, clip)


def test_steps_of_videos_need_evaluation_mode():
    model = build_tiny_model()
    for step in (model.keyframe, model.reuse):
        with pytest.raises(RuntimeError, match=r"model\.eval\(\)"):
            step([noise_image(64, 64)])


def test_reuse_does_not_run_the_instance_decoder():
    model = build_lively_model(**FEW_LAYERS)
    model.instance_decoder = None
    with torch.no_grad():
        assert model.reuse([noise_image(64, 64)]).shape == (1, 32, 8, 8)


def test_the_last_feature_of_the_config_is_the_global_one():
    features = {"MODEL__MOBILEINST__BACKBONE_FEATURES": ["x3", "x4", "x5", "x5"]}
    model = build_tiny_model(**FEW_LAYERS, **features).eval()
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        maps = model.backbone(images)
        expected = model.instance_decoder(model.mask_decoder(maps), maps["x5"]).kernels
        torch.testing.assert_close(model.raw_outputs(images)["kernels"], expected)


def test_numbers_of_layers_and_their_widths_come_from_the_config():
    def count(**options):
        return sum(p.numel() for p in build_tiny_model(**FEW_LAYERS, **options).parameters())

    plain, node = count(), "MODEL__MOBILEINST__"
    for key in ("KERNEL_DIM", "INSTANCE_DECODER__NUM_QUERIES", "INSTANCE_DECODER__FFN_DIM"):
        assert count(**{node + key: 12}) < plain, key
    assert count(**{f"{node}MASK_DECODER__NUM_MASK_CONVS": 2}) > plain


def test_the_mean_is_removed_before_the_padding():
    model = build_tiny_model()
    image = torch.full((3, 65, 64), 200.0)
    batch = model.preprocess_image([{"image": image}]).tensor
    assert batch.shape == (1, 3, 128, 64)
    assert batch[:, :, 65:].abs().max() == 0
    expected = (200 - 123.675) / 58.395
    assert batch[0, 0, :65].unique().item() == pytest.approx(expected, rel=1e-5)


def test_a_fixed_size_pads_to_exactly_that_in_evaluation_only():
    model = build_tiny_model(INPUT__FIXED_SIZE_TEST=(128, 192))
    image = torch.full((3, 60, 100), 200.0)
    assert model.preprocess_image([{"image": image}]).tensor.shape == (1, 3, 64, 128)
    model.eval()
    images = model.preprocess_image([{"image": image}, {"image": noise_image(128, 192)}])
    assert images.image_sizes == [(60, 100), (128, 192)]
    assert images.tensor.shape == (2, 3, 128, 192)
    padding = torch.ones(128, 192, dtype=torch.bool)
    padding[:60, :100] = False
    assert images.tensor[0, :, padding].abs().max() == 0
    assert (images.tensor[0, :, ~padding] > 0).all()


@pytest.mark.parametrize("size", [(129, 64), (64, 193)])
def test_an_image_that_does_not_fit_is_named(size):
    model = build_tiny_model(INPUT__FIXED_SIZE_TEST=(128, 192)).eval()
    with pytest.raises(ValueError, match=rf"{size[0]}x{size[1]} pixels.*128x192.*FIXED_SIZE_TEST"):
        model.reuse([torch.zeros(3, *size)])


@pytest.mark.parametrize("downsample", ["nearest", "conv"])
def test_every_parameter_is_initialised(downsample):
    # In this mode PyTorch fills new memory with NaN.
    torch.use_deterministic_algorithms(True)
    try:
        model = build_tiny_model(MODEL__MOBILEINST__MASK_DECODER__DOWNSAMPLE=downsample)
    finally:
        torch.use_deterministic_algorithms(False)
    assert torch.utils.deterministic.fill_uninitialized_memory
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        assert tensor.isfinite().all(), name


def test_small_scores_keep_their_digits_and_extreme_ones_are_numbers():
    class_logits = torch.tensor([[[-40.0, -20.0, 3.0], [-500.0, 500.0, 0.0]]])
    objectness_logits = torch.tensor([[-30.0, 500.0]])
    wide = class_logits.double().sigmoid() * objectness_logits.double().sigmoid()[..., None]
    scores = instance_scores(class_logits, objectness_logits)
    torch.testing.assert_close(scores.double(), wide.sqrt(), rtol=1e-5, atol=1e-20)
