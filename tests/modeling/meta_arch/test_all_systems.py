"""What every system has to bear in training, evaluation and graphs, asked of all of them alike."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from detectron2.structures import Instances
from model_inputs import check_training_step, clip_input, image_input, rectangles
from PIL import Image
from small_fastinst import LIGHT, build_lively_fastinst, build_small_fastinst
from small_fastinst import SMALL as SMALL_FASTINST
from small_sparseinst import SMALL as SMALL_SPARSEINST
from small_sparseinst import build_lively_sparseinst, build_small_sparseinst
from tiny_models import FEW_LAYERS, build_tiny_model, moving_video, noise_image, tiny_config
from tiny_yolact import build_tiny_yolact
from torch import nn

from mobileinst_d2.data import ImageMapper
from mobileinst_d2.modeling import VideoSegmentor
from mobileinst_d2.tracking import StreamingPredictor, VideoPredictor


class System(NamedTuple):
    """How to build a network in training mode, and the losses of images."""

    build: Callable[..., nn.Module]
    losses: set[str]


def names(num_sets: int) -> set[str]:
    suffixes = ["", *(f"_{i}" for i in range(num_sets - 1))]
    return {f"loss_{kind}{s}" for kind in ("ce", "mask", "dice") for s in suffixes}


SPARSE_LOSSES = {"loss_cls", "loss_dice", "loss_mask", "loss_obj"}
SYSTEMS = {
    "mobileinst": System(functools.partial(build_tiny_model, **FEW_LAYERS), SPARSE_LOSSES),
    "sparseinst": System(build_small_sparseinst, SPARSE_LOSSES),
    # Two layers: three heads, two guided passes, and the pixels that queries come from.
    "fastinst": System(build_small_fastinst, {*names(5), "loss_proposal"}),
    "mask2former": System(functools.partial(build_small_fastinst, **LIGHT), names(3)),
    "yolact": System(build_tiny_yolact, {f"loss_{kind}" for kind in ("cls", "box", "mask", "sem")}),
}
# Those that train frame by frame: how to build one whose masks have shapes, and its config.
OF_FRAMES = {
    "sparseinst": (build_lively_sparseinst, SMALL_SPARSEINST),
    "fastinst": (build_lively_fastinst, SMALL_FASTINST),
}

of_all = pytest.mark.parametrize("system", SYSTEMS.values(), ids=SYSTEMS)


@pytest.fixture(scope="module", params=OF_FRAMES.values(), ids=OF_FRAMES)
def lively(request) -> tuple[VideoSegmentor, dict]:
    """A model in evaluation mode, not to be changed, and its config."""
    build, config = request.param
    return build(), config


@of_all
def test_no_images_give_no_results(system):
    model = system.build().eval()
    assert model([]) == []
    if isinstance(model, VideoSegmentor):
        for predict in (model.keyframe, model.reuse):
            with pytest.raises(ValueError, match="no image"):
                predict([])


@of_all
def test_nothing_to_train_on_is_said(system):
    model = system.build()
    for batch in ([], [{"image": [], "instances": []}]):
        with pytest.raises(ValueError, match="the batch has no image"):
            model(batch)


@of_all
def test_images_train_every_parameter(system):
    model, several = system.build(), [image_input(objects=5), image_input(objects=3, seed=1)]
    check_training_step(model, several, system.losses)
    # What Detectron2's own mapper gives for an image without annotations.
    empty = image_input(objects=0)
    empty["instances"] = Instances((96, 128), gt_classes=torch.zeros(0, dtype=torch.int64))
    check_training_step(model, [empty, image_input()], system.losses)


@pytest.mark.parametrize("name", ["mobileinst", "sparseinst", "fastinst"])
def test_frames_of_clips_have_the_losses_of_images(name):
    first, second, third = rectangles(96, 128, 3)
    clip = clip_input([[first, second], [third, None]])
    images = [
        {"image": image, "instances": instances}
        for image, instances in zip(clip["image"], clip["instances"], strict=True)
    ]
    losses, expected = (SYSTEMS[name].build()(batch) for batch in ([clip], images))
    passed = {"loss_passed_dice", "loss_passed_mask"} if name == "mobileinst" else set()
    assert set(losses) - set(expected) == passed
    for loss, value in expected.items():
        torch.testing.assert_close(losses[loss], value)


def floats(x: object) -> object:
    """With tensors of half precision in single precision, in whatever holds them."""
    if isinstance(x, torch.Tensor):
        return x.float() if x.is_floating_point() else x
    if isinstance(x, dict):
        return {name: floats(value) for name, value in x.items()}
    if isinstance(x, tuple | list):
        values = [floats(value) for value in x]
        return type(x)(*values) if hasattr(x, "_fields") else type(x)(values)
    return x


@of_all
def test_losses_are_in_single_precision_in_mixed_precision_too(system):
    given = {}
    model = system.build()
    model.criterion.register_forward_pre_hook(
        lambda _, args, kwargs: given.update(args=args, kwargs=kwargs), with_kwargs=True
    )
    for objects in (0, 3, 60):  # the last are more than there are queries
        with torch.autocast("cpu", dtype=torch.float16):
            check_training_step(model, [image_input(64, 64, objects=objects)], system.losses)
            torch.manual_seed(0)
            found = model.criterion(*given["args"], **given["kwargs"])
        torch.manual_seed(0)
        expected = model.criterion(*floats(given["args"]), **floats(given["kwargs"]))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)


@of_all
@pytest.mark.parametrize("kind", ["only a crowd", "cropped out of view"])
def test_images_whose_objects_are_left_out_train_as_empty_ones(system, tmp_path, kind):
    path = tmp_path / "image.png"
    Image.fromarray(noise_image(96, 128).permute(1, 2, 0).numpy()).save(path)
    box = {"bbox": [2, 2, 18, 18], "bbox_mode": 1, "segmentation": [[2, 2, 20, 2, 20, 20, 2, 20]]}
    annotation = {**box, "category_id": 1, "iscrowd": int(kind == "only a crowd")}
    record = {"file_name": str(path), "height": 96, "width": 128, "image_id": 1}
    crop = [T.CropTransform(32, 32, 96, 64)] if kind == "cropped out of view" else []
    mapper = ImageMapper(is_train=True, image_format="RGB", augmentations=crop)
    item = mapper({**record, "annotations": [annotation]})
    assert len(item["instances"]) == 0
    assert ("crowd_boxes" in item) == (kind == "only a crowd")
    check_training_step(system.build(), [item, item], system.losses)


@of_all
@pytest.mark.parametrize("size", [(1, 1), (33, 500), (200, 7)])
def test_images_of_any_size_are_trained_on_and_predicted(system, size):
    height, width = size
    masks = torch.zeros(1, height, width, dtype=torch.bool)
    masks[:, : max(1, height // 2), : max(1, width // 2)] = True
    record = image_input(64, 64, objects=1)
    record["image"] = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (3, height, width), np.uint8)
    )
    instances = record["instances"]
    record["instances"] = Instances(
        size, gt_classes=instances.gt_classes, gt_masks=type(instances.gt_masks)(masks)
    )
    model = system.build()
    check_training_step(model, [record, image_input(64, 64)], system.losses)
    with torch.no_grad():
        (result,) = model.eval()([{"image": record["image"], "height": 31, "width": 17}])
    assert result["instances"].image_size == (31, 17)
    boxes = result["instances"].pred_boxes.tensor
    # FastInst's public code gives boxes of zeros.
    assert ((boxes[:, 2:] - boxes[:, :2]) > 0).all()


def test_videos_are_tracked(lively):
    model, config = lively
    cfg = tiny_config(**config, TEST__TRACKING__CLIP_LEN=3)
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


def test_the_graph_of_images_computes_what_the_model_computes_with_logits_at_stride_8(lively):
    model, _ = lively
    image = noise_image(96, 160)[None].float()  # 5 columns at stride 32: 2, 3, 6 bins
    with torch.no_grad():
        expected = model.forward_inference(model.preprocess_image([{"image": image[0]}]).tensor)
        graph = model.export_graphs((96, 160))["image"]
        found = dict(zip(graph.output_names, graph(image), strict=True))
    assert found["mask_logits"].shape[2:] == (12, 20)
    for name, value in found.items():
        torch.testing.assert_close(value, expected[name], atol=1e-4, rtol=1e-5)
