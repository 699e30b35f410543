"""What every system has to bear in training and evaluation, asked of all of them alike."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from detectron2.data import transforms as T
from model_inputs import image_input
from PIL import Image
from small_fastinst import LIGHT, build_small_fastinst
from small_sparseinst import build_small_sparseinst
from tiny_models import build_tiny_model, noise_image
from tiny_yolact import build_tiny_yolact
from torch import nn

from mobileinst_d2.data import ImageMapper
from mobileinst_d2.modeling import VideoSegmentor

SYSTEMS = {
    "mobileinst": build_tiny_model,
    "sparseinst": build_small_sparseinst,
    "fastinst": build_small_fastinst,
    "mask2former": lambda seed=0, **options: build_small_fastinst(seed, **LIGHT, **options),
    "yolact": build_tiny_yolact,
}

of_all = pytest.mark.parametrize("build", SYSTEMS.values(), ids=SYSTEMS)


def check_gradients(model: nn.Module, batch: list[dict], hint: object = None) -> None:
    losses = model(batch)
    assert all(x.isfinite() for x in losses.values()), (hint, losses)
    sum(losses.values()).backward()
    bad = [n for n, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    assert bad == [], hint


@of_all
def test_no_images_give_no_results(build: Callable[..., nn.Module]):
    assert build().eval()([]) == []


@of_all
@pytest.mark.parametrize("batch", [[], [{"image": [], "instances": []}]], ids=["images", "frames"])
def test_nothing_to_train_on_is_said(build, batch):
    with pytest.raises(ValueError, match="the batch has no image"):
        build()(batch)


@of_all
def test_no_frames_are_no_video(build):
    model = build().eval()
    if isinstance(model, VideoSegmentor):
        for predict in (model.keyframe, model.reuse):
            with pytest.raises(ValueError, match="no image"):
                predict([])


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
def test_losses_are_in_single_precision_in_mixed_precision_too(build):
    given = {}
    model = build()
    model.criterion.register_forward_pre_hook(
        lambda _, args, kwargs: given.update(args=args, kwargs=kwargs), with_kwargs=True
    )
    for objects in (0, 3, 60):  # the last are more than there are queries
        with torch.autocast("cpu", dtype=torch.float16):
            check_gradients(model, [image_input(64, 64, objects=objects)], objects)
            torch.manual_seed(0)
            found = model.criterion(*given["args"], **given["kwargs"])
        torch.manual_seed(0)
        expected = model.criterion(*floats(given["args"]), **floats(given["kwargs"]))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-7)
        model.zero_grad()


@of_all
@pytest.mark.parametrize("kind", ["only a crowd", "cropped out of view"])
def test_images_whose_objects_are_left_out_train_as_empty_ones(build, tmp_path, kind):
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
    check_gradients(build(), [item, item])


@of_all
@pytest.mark.parametrize("size", [(64, 64), (1, 1), (33, 500), (200, 7)])
def test_images_of_any_size_are_trained_on_and_predicted(build, size):
    height, width = size
    masks = torch.zeros(1, height, width, dtype=torch.bool)
    masks[:, : max(1, height // 2), : max(1, width // 2)] = True
    record = image_input(64, 64, objects=1)
    record["image"] = torch.from_numpy(
        np.random.default_rng(0).integers(0, 256, (3, height, width), np.uint8)
    )
    instances = record["instances"]
    record["instances"] = type(instances)(
        size, gt_classes=instances.gt_classes, gt_masks=type(instances.gt_masks)(masks)
    )
    model = build()
    check_gradients(model, [record, image_input(64, 64)])
    with torch.no_grad():
        (result,) = model.eval()([{"image": record["image"], "height": 31, "width": 17}])
    assert result["instances"].image_size == (31, 17)
    boxes = result["instances"].pred_boxes.tensor
    # FastInst's public code gives boxes of zeros.
    assert ((boxes[:, 2:] - boxes[:, :2]) > 0).all()
