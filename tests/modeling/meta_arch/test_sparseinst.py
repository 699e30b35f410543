"""SparseInst as a network of this project: it trains, predicts, tracks and gives graphs."""

import subprocess
import sys

import pytest
import torch
from model_inputs import IMAGE_BATCHES, check_training_step, clip_input, image_input, rectangles
from small_sparseinst import NODE, SMALL, build_lively_sparseinst
from small_sparseinst import build_small_sparseinst as build
from tiny_models import noise_image, tiny_config
from torch import nn

from mobileinst_d2.engine.optimizer import build_optimizer
from mobileinst_d2.modeling import SparseInst
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor

LOSSES = {"loss_cls", "loss_dice", "loss_mask", "loss_obj"}
TIMM = {"MODEL__BACKBONE__NAME": "TimmBackbone"}
RESNET = {
    "MODEL__BACKBONE__NAME": "build_resnet_backbone",
    "MODEL__RESNETS__OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL__RESNETS__WIDTH_PER_GROUP": 8,
    "MODEL__RESNETS__STEM_OUT_CHANNELS": 8,
    "MODEL__RESNETS__RES2_OUT_CHANNELS": 16,
    "MODEL__BACKBONE__FREEZE_AT": 0,
}
BACKBONES = {
    "topformer": {},
    "seaformer": {
        "MODEL__BACKBONE__NAME": "SeaFormer",
        "MODEL__SEAFORMER__VARIANT": "tiny",
    },
    "mobilenetv2": TIMM,
    "resnet": RESNET,
    "resnet-dcn": RESNET | {"MODEL__BACKBONE__DEFORMABLE_STAGES": [4, 5]},
}


@pytest.fixture(scope="module")
def lively() -> SparseInst:
    """A model whose queries differ, in evaluation mode. Not to be changed."""
    return build_lively_sparseinst()


@pytest.mark.parametrize("batch", IMAGE_BATCHES.values(), ids=IMAGE_BATCHES)
def test_images_train_every_parameter(batch):
    check_training_step(build(), batch(), LOSSES)


@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_every_backbone_trains_every_parameter(backbone):
    check_training_step(build(**backbone), [image_input(), image_input(70, 131)], LOSSES)


@pytest.mark.parametrize("groups", [1, 2, 8])
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_every_variant_trains_every_parameter(groups, activation):
    options = {f"{NODE}GROUPS": groups, f"{NODE}ACTIVATION": activation}
    model = build(**options)
    check_training_step(model, [image_input(objects=3)], LOSSES)


def test_frames_of_clips_are_images():
    first, second = rectangles(96, 128, 2)
    clip = clip_input([[first], [second]])
    images = [
        {"image": image, "instances": instances}
        for image, instances in zip(clip["image"], clip["instances"], strict=True)
    ]
    losses, expected = build()([clip]), build()(images)
    assert losses.keys() == expected.keys() == LOSSES
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_finite_losses_and_gradients_from_20_seeds(dtype):
    for seed in range(20):
        model = build(seed)
        with torch.autocast("cpu", dtype=dtype):
            losses = model([image_input(64, 64, objects=2, seed=seed)])
        assert all(value.isfinite() for value in losses.values()), seed
        sum(losses.values()).backward()
        assert all(p.grad.isfinite().all() for p in model.parameters()), seed


@pytest.mark.parametrize("size", [(64, 64), (70, 131), (20, 33)])
def test_images_of_any_size_are_predicted(lively, size):
    with torch.no_grad():
        (result,) = lively([{"image": noise_image(*size), "height": 90, "width": 40}])
    instances = result["instances"]
    assert instances.image_size == (90, 40)
    assert len(instances) > 0
    assert instances.pred_masks.shape[1:] == (90, 40)
    boxes = instances.pred_boxes.tensor
    assert ((boxes[:, 2:] - boxes[:, :2]) > 0).all()


def test_the_threshold_is_on_the_score_with_objectness_before_rescoring(lively):
    """The public evaluation script compares the class probability alone."""
    outputs = {
        # 0.001 and an objectness of 0.5 give 0.022; 0.00002 gives 0.003.
        "scores": torch.tensor([[[0.001], [0.00002]]]).mul(0.5).sqrt(),
        "mask_logits": torch.full((1, 2, 8, 8), 4.0),
    }
    (instances,) = lively.inference(outputs, [((64, 64), (64, 64))])
    assert len(instances) == 1
    maskness = torch.tensor(4.0).sigmoid()
    torch.testing.assert_close(instances.scores, torch.tensor([0.0005]).sqrt() * maskness)


def test_size_constants_follow_the_size_of_the_input(lively):
    with torch.no_grad():
        small = lively.raw_outputs(torch.zeros(1, 3, 64, 64))
        large = lively.raw_outputs(torch.zeros(1, 3, 96, 160))
    assert small["mask_logits"].shape[-2:] == (16, 16)
    assert large["mask_logits"].shape[-2:] == (24, 40)


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
    assert len(set(result["pred_ids"])) == len(result["pred_ids"])
    stream = StreamingPredictor(cfg, lively)
    for frame in frames:
        stream.step(frame.permute(1, 2, 0).numpy()[:, :, ::-1])


def test_reused_frames_run_without_the_instance_branch(lively, monkeypatch):
    frames = moving_video(2)
    with torch.no_grad():
        expected = lively.keyframe(frames)["mask_features"]
        monkeypatch.setattr(lively.instance_decoder, "forward", None)
        torch.testing.assert_close(lively.reuse(frames), expected)


@pytest.mark.filterwarnings(
    "ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning"
)
@pytest.mark.parametrize("size", [(64, 64), (96, 160)])  # 5 columns at stride 32: 2, 3, 6 bins
def test_graphs_compute_what_the_model_computes_with_logits_at_stride_8(lively, size):
    height, width = size
    image = noise_image(*size)[None].float()
    with torch.no_grad():
        expected = lively.forward_inference(lively.preprocess_image([{"image": image[0]}]).tensor)
        graph = lively.export_graphs(size)["image"]
        found = dict(zip(graph.output_names, graph(image), strict=True))
    assert found["mask_logits"].shape == (1, 20, height // 8, width // 8)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=1e-5)
    traced = torch.jit.trace(graph, graph.example_input(), check_trace=False)
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    assert not [k for k in kinds if "adaptive" in k or "linspace" in k or "meshgrid" in k]


def test_normalisations_of_every_backbone_have_no_weight_decay():
    """The public code looks for "norm" in names, which misses those of MobileNetV2."""
    model = build(**TIMM)
    norms = {
        id(p) for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()
    }
    assert len(norms) == 102  # 51 layers
    cfg = tiny_config(**SMALL, **TIMM, SOLVER__WEIGHT_DECAY=0.05, SOLVER__WEIGHT_DECAY_NORM=0.0)
    for group in build_optimizer(cfg, model).param_groups:
        for parameter in group["params"]:
            assert group["weight_decay"] == (0.0 if id(parameter) in norms else 0.05)


def test_the_device_is_where_the_model_is():
    """The public code keeps that of the config."""
    model = build()
    assert model.device.type == "cpu"
    assert model.to("meta").device.type == "meta"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({f"{NODE}GROUPS": 5}, "groups is 5, choose a divisor of the width 32"),
        ({f"{NODE}GROUPS": 0}, "groups is 0"),
        ({f"{NODE}NUM_QUERIES": 0}, "num_queries is 0"),
        ({f"{NODE}ACTIVATION": "relu"}, "activation is 'relu', .*'softmax'"),
        ({f"{NODE}LOSS__NORMALIZATION": "none"}, "normalization is 'none', .*'as_published'"),
        ({"MODEL__BACKBONE__DEFORMABLE_STAGES": [4]}, "DEFORMABLE_STAGES has 4: TopFormer has no"),
        (RESNET | {"MODEL__BACKBONE__DEFORMABLE_STAGES": [6]}, "DEFORMABLE_STAGES has 6: ResNet"),
    ],
    ids=str,
)
def test_bad_options_are_named(overrides, message):
    with pytest.raises(ValueError, match=message):
        build(**overrides)


def test_what_a_backbone_does_not_need_is_not_imported():
    """The public code needs timm for every backbone."""
    program = (
        "import sys; from mobileinst_d2.engine import Trainer, setup_cfg; "
        "Trainer.build_model(setup_cfg('sparseinst/sparseinst_r50_iam_coco.yaml', "
        "['MODEL.DEVICE', 'cpu'])); assert 'timm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
