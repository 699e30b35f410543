"""SparseInst, FastInst and the light Mask2Former, which train frame by frame, asked alike."""

from collections.abc import Callable
from typing import NamedTuple

import pytest
import torch
from model_inputs import IMAGE_BATCHES, check_training_step, clip_input, image_input, rectangles
from small_fastinst import LIGHT, build_lively_fastinst, build_small_fastinst
from small_fastinst import SMALL as SMALL_FASTINST
from small_sparseinst import SMALL as SMALL_SPARSEINST
from small_sparseinst import build_lively_sparseinst, build_small_sparseinst
from tiny_models import moving_video, noise_image, tiny_config

from mobileinst_d2.modeling import VideoSegmentor
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor


class System(NamedTuple):
    """How to build one in training mode, one whose masks have shapes, its losses and config."""

    build: Callable[..., VideoSegmentor]
    build_lively: Callable[..., VideoSegmentor]
    losses: set[str]
    config: dict[str, object]


def names(num_sets: int) -> set[str]:
    suffixes = ["", *(f"_{i}" for i in range(num_sets - 1))]
    return {f"loss_{kind}{s}" for kind in ("ce", "mask", "dice") for s in suffixes}


SYSTEMS = {
    "sparseinst": System(
        build_small_sparseinst,
        build_lively_sparseinst,
        {"loss_cls", "loss_dice", "loss_mask", "loss_obj"},
        SMALL_SPARSEINST,
    ),
    # Two layers: three heads, two guided passes, and the pixels that queries come from.
    "fastinst": System(
        build_small_fastinst, build_lively_fastinst, {*names(5), "loss_proposal"}, SMALL_FASTINST
    ),
    "mask2former": System(
        build_small_fastinst, build_lively_fastinst, names(3), SMALL_FASTINST | LIGHT
    ),
}
RESNET = {
    "MODEL__BACKBONE__NAME": "build_resnet_backbone",
    "MODEL__RESNETS__OUT_FEATURES": ["res3", "res4", "res5"],
    "MODEL__RESNETS__WIDTH_PER_GROUP": 8,
    "MODEL__RESNETS__STEM_OUT_CHANNELS": 8,
    "MODEL__RESNETS__RES2_OUT_CHANNELS": 16,
    "MODEL__BACKBONE__FREEZE_AT": 0,
}
BACKBONES = {
    "seaformer": {"MODEL__BACKBONE__NAME": "SeaFormer", "MODEL__SEAFORMER__VARIANT": "tiny"},
    "topformer": {"MODEL__BACKBONE__NAME": "TopFormer"},
    "resnet-dcn": RESNET | {"MODEL__BACKBONE__DEFORMABLE_STAGES": [4, 5]},
}

of_all = pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)
of_two = pytest.mark.parametrize("system", [SYSTEMS[x] for x in ("sparseinst", "fastinst")])


@pytest.fixture(scope="module")
def lively() -> Callable[[System], VideoSegmentor]:
    """Models in evaluation mode, each built once. Not to be changed."""
    models = {}

    def build(system):
        if system.build_lively not in models:
            models[system.build_lively] = system.build_lively()
        return models[system.build_lively]

    return build


@of_all
@pytest.mark.parametrize("batch", IMAGE_BATCHES.values(), ids=IMAGE_BATCHES)
def test_images_train_every_parameter(system, batch):
    check_training_step(system.build(**system.config), batch(), system.losses)


@of_two
@pytest.mark.parametrize("backbone", BACKBONES.values(), ids=BACKBONES)
def test_every_backbone_trains_every_parameter(system, backbone):
    model = system.build(**backbone)
    check_training_step(model, [image_input(), image_input(70, 131)], system.losses)


@of_two
def test_frames_of_clips_are_images(system):
    first, second = rectangles(96, 128, 2)
    clip = clip_input([[first], [second]])
    images = [
        {"image": image, "instances": instances}
        for image, instances in zip(clip["image"], clip["instances"], strict=True)
    ]
    losses, expected = system.build()([clip]), system.build()(images)
    assert losses.keys() == expected.keys() == system.losses
    for name, value in expected.items():
        torch.testing.assert_close(losses[name], value)


@of_two
@pytest.mark.parametrize("clip_len", [1, 3])
def test_videos_are_tracked(lively, system, clip_len):
    model = lively(system)
    cfg = tiny_config(**system.config, TEST__TRACKING__CLIP_LEN=clip_len)
    frames = moving_video(5, 64, 96)
    inputs = {"image": frames, "height": 64, "width": 96, "video_id": 1}
    (result,) = VideoPredictor(cfg, model)([inputs])
    assert result["length"] == 5
    assert len(result["pred_scores"]) > 0
    assert len(set(result["pred_ids"])) == len(result["pred_ids"])
    stream = StreamingPredictor(cfg, model)
    for frame in frames:
        stream.step(frame.permute(1, 2, 0).numpy()[:, :, ::-1])
    with torch.no_grad():
        expected = model.keyframe(frames[:2])["mask_features"]
        torch.testing.assert_close(model.reuse(frames[:2]), expected)


@pytest.mark.filterwarnings(
    "ignore:`torch.jit:FutureWarning", "ignore:`torch.jit:DeprecationWarning"
)
@of_two
def test_graphs_compute_what_the_model_computes_with_logits_at_stride_8(lively, system):
    size = 96, 160  # 5 columns at stride 32: 2, 3, 6 bins
    model, (height, width) = lively(system), size
    image = noise_image(*size)[None].float()
    with torch.no_grad():
        expected = model.forward_inference(model.preprocess_image([{"image": image[0]}]).tensor)
        graph = model.export_graphs(size)["image"]
        found = dict(zip(graph.output_names, graph(image), strict=True))
    assert found["mask_logits"].shape[2:] == (height // 8, width // 8)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=1e-5)
    traced = torch.jit.trace(graph, graph.example_input(), check_trace=False)
    kinds = {node.kind() for node in traced.inlined_graph.nodes()}
    banned = ("adaptive", "linspace", "meshgrid", "rand")
    assert not [kind for kind in kinds if any(word in kind for word in banned)]
