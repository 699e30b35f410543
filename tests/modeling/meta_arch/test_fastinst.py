"""FastInst as a network of this project: it trains, predicts, tracks and gives graphs."""

import pytest
import torch
from detectron2.data import transforms as T
from model_inputs import (
    IMAGE_BATCHES,
    check_training_step,
    clip_input,
    image_input,
    make_instances,
    rectangles,
)
from PIL import Image
from small_fastinst import LIGHT, NODE, SMALL, build_lively_fastinst, build_small_fastinst
from tiny_models import noise_image, tiny_config

from mobileinst_d2.data import ImageMapper
from mobileinst_d2.modeling import FastInst
from mobileinst_d2.modeling.criterion import PixelProposals
from mobileinst_d2.modeling.criterion.fastinst import pixel_locations
from mobileinst_d2.modeling.instance_decoder.activation_queries import (
    ActivationQueries,
    activation_rank,
)
from mobileinst_d2.modeling.targets import FrameTargets
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor


def names(num_sets: int, *more: str) -> set[str]:
    suffixes = ["", *(f"_{i}" for i in range(num_sets - 1))]
    return {f"loss_{kind}{s}" for kind in ("ce", "mask", "dice") for s in suffixes} | set(more)


# Two layers: three heads and two guided passes.
LOSSES = names(5, "loss_proposal")


@pytest.fixture(scope="module")
def lively() -> FastInst:
    """A model whose masks have shapes, in evaluation mode. Not to be changed."""
    return build_lively_fastinst()


@pytest.mark.parametrize("batch", IMAGE_BATCHES.values(), ids=IMAGE_BATCHES)
@pytest.mark.parametrize("options", [{}, LIGHT], ids=["fastinst", "light mask2former"])
def test_images_train_every_parameter(batch, options):
    check_training_step(build_small_fastinst(**options), batch(), names(3) if options else LOSSES)


@pytest.mark.parametrize(
    "backbone",
    [
        {"MODEL__BACKBONE__NAME": "SeaFormer", "MODEL__SEAFORMER__VARIANT": "tiny"},
        {"MODEL__BACKBONE__NAME": "TimmBackbone"},
        {
            "MODEL__BACKBONE__NAME": "build_resnet_backbone",
            "MODEL__RESNETS__OUT_FEATURES": ["res3", "res4", "res5"],
            "MODEL__RESNETS__WIDTH_PER_GROUP": 8,
            "MODEL__RESNETS__STEM_OUT_CHANNELS": 8,
            "MODEL__RESNETS__RES2_OUT_CHANNELS": 16,
            "MODEL__BACKBONE__FREEZE_AT": 0,
        },
    ],
    ids=["seaformer", "mobilenetv2", "resnet"],
)
def test_every_backbone_trains_every_parameter(backbone):
    check_training_step(
        build_small_fastinst(**backbone), [image_input(), image_input(70, 131)], LOSSES
    )


@pytest.mark.parametrize(("layers", "terms"), [(1, 10), (3, 22)])
def test_the_number_of_losses_is_the_papers(layers, terms):
    assert len(build_small_fastinst(**{f"{NODE}NUM_LAYERS": layers})([image_input()])) == terms


def test_frames_of_clips_are_images():
    first, second = rectangles(96, 128, 2)
    clip = clip_input([[first], [second]])
    images = [
        {"image": image, "instances": instances}
        for image, instances in zip(clip["image"], clip["instances"], strict=True)
    ]
    losses, expected = build_small_fastinst()([clip]), build_small_fastinst()(images)
    assert losses.keys() == expected.keys() == LOSSES
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_finite_losses_and_gradients_from_20_seeds(dtype):
    for seed in range(20):
        model = build_small_fastinst(seed, **{f"{NODE}NUM_LAYERS": 1})
        with torch.autocast("cpu", dtype=dtype):
            losses = model([image_input(64, 64, objects=2, seed=seed)])
        assert all(value.isfinite() for value in losses.values()), seed
        sum(losses.values()).backward()
        assert all(p.grad.isfinite().all() for p in model.parameters()), seed


def test_no_parameter_starts_with_what_the_memory_held():
    """The public code leaves the positions as ``torch.empty`` gives them, at times NaN."""
    model = build_small_fastinst()
    assert model.decoder.position.std().item() == pytest.approx(0.02, rel=0.1)
    assert all(p.isfinite().all() and p.abs().max() < 10 for p in model.parameters())


@pytest.mark.parametrize("size", [(64, 64), (70, 131), (20, 33)])
def test_images_of_any_size_are_predicted(lively, size):
    """The public code needs 160x160 for its 100 queries; here small images have fewer."""
    with torch.no_grad():
        (result,) = lively([{"image": noise_image(*size), "height": 90, "width": 40}])
    instances = result["instances"]
    assert instances.image_size == (90, 40)
    assert 0 < len(instances) <= 100
    boxes = instances.pred_boxes.tensor
    # The public code gives boxes of zeros.
    assert ((boxes[:, 2:] - boxes[:, :2]) > 0).all()


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


def test_more_objects_than_queries_are_trained_as_far_as_there_are_queries():
    model = build_small_fastinst(**{f"{NODE}NUM_QUERIES": 3})
    check_training_step(model, [image_input(objects=9)], LOSSES)


@pytest.mark.parametrize("kind", ["only a crowd", "cropped out of view"])
def test_images_whose_objects_are_left_out_train_as_empty_ones(tmp_path, kind):
    """The public code trains objects that a crop removed, with empty masks."""
    path = tmp_path / "image.png"
    Image.fromarray(noise_image(96, 128).permute(1, 2, 0).byte().numpy()).save(path)
    polygon = [[2, 2, 20, 2, 20, 20, 2, 20]]
    crowd = kind == "only a crowd"
    annotation = {"category_id": 1, "segmentation": polygon, "iscrowd": int(crowd)}
    record = {"file_name": str(path), "height": 96, "width": 128, "image_id": 1}
    crop = [] if crowd else [T.CropTransform(32, 32, 96, 64)]
    mapper = ImageMapper(is_train=True, image_format="RGB", augmentations=crop)
    item = mapper({**record, "annotations": [annotation]})
    assert len(item["instances"]) == 0
    check_training_step(build_small_fastinst(), [item, item], LOSSES)


def test_masks_that_vanish_at_the_resolution_of_the_attention_look_everywhere():
    tiny = image_input(64, 64, objects=0)
    tiny["instances"] = make_instances((64, 64), [(1, 1, 3, 3)])
    losses = build_small_fastinst()([tiny])
    assert all(value.isfinite() for value in losses.values())


def test_locations_are_those_of_the_public_code():
    pixels = torch.tensor([[0, 5, 11]])
    locations = pixel_locations(pixels, (3, 4))[0]
    torch.testing.assert_close(locations, torch.tensor([[0, 0], [1 / 3, 0.5], [1, 1]]))


def moving_video(length: int) -> list[torch.Tensor]:
    scene = noise_image(80, 140)
    return [scene[:, 2 * t : 2 * t + 64, 5 * t : 5 * t + 96] for t in range(length)]


@pytest.mark.parametrize("clip_len", [1, 3])
def test_videos_are_tracked(lively, clip_len):
    cfg = tiny_config(**SMALL, TEST__TRACKING__CLIP_LEN=clip_len)
    frames = moving_video(5)
    inputs = {"image": frames, "height": 64, "width": 96, "video_id": 1}
    (result,) = VideoPredictor(cfg, lively)([inputs])
    assert result["length"] == 5
    assert len(result["pred_scores"]) > 0
    stream = StreamingPredictor(cfg, lively)
    for frame in frames:
        stream.step(frame.permute(1, 2, 0).numpy()[:, :, ::-1])
    with torch.no_grad():
        expected = lively.keyframe(frames[:2])["mask_features"]
        torch.testing.assert_close(lively.reuse(frames[:2]), expected)


@pytest.mark.filterwarnings(
    "ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning"
)
@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_graphs_compute_what_the_model_computes(lively, size):
    image = noise_image(*size)[None].float()
    with torch.no_grad():
        expected = lively.forward_inference(lively.preprocess_image([{"image": image[0]}]).tensor)
        graph = lively.export_graphs(size)["image"]
        found = dict(zip(graph.output_names, graph(image), strict=True))
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=1e-5)
    traced = torch.jit.trace(graph, graph.example_input(), check_trace=False)
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert not [k for k in kinds if "adaptive" in k or "linspace" in k or "rand" in k]


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("DECODER", "static", "DECODER is 'static', .*'mask2former'"),
        ("NUM_LAYERS", 0, "num_layers is 0, at least 1"),
        ("NORM", "LN", "norm is 'LN', .*'GN'"),
        ("HIDDEN_DIM", 48, "width 48 is not divisible by the 32 groups"),
    ],
)
def test_options_that_make_no_sense_are_named(option, value, message):
    with pytest.raises(ValueError, match=message):
        build_small_fastinst(**{f"{NODE}{option}": value})
