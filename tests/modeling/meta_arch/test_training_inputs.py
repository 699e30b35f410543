"""What a mapper of one's own may give, and what is refused before it does harm unseen."""

import copy

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from model_inputs import image_input, make_instances, rectangles
from small_fastinst import build_small_fastinst
from small_sparseinst import build_small_sparseinst
from tiny_models import FEW_LAYERS, build_tiny_model
from tiny_yolact import build_tiny_yolact

SYSTEMS = {
    "mobileinst": lambda: build_tiny_model(**FEW_LAYERS),
    "sparseinst": build_small_sparseinst,
    "fastinst": build_small_fastinst,
    "yolact": build_tiny_yolact,
}


@pytest.fixture(scope="module", params=SYSTEMS.values(), ids=SYSTEMS)
def model(request):
    """In training mode; not to be changed but for its statistics."""
    return request.param().train()


def without_masks(item):
    item["instances"].remove("gt_masks")


def with_masks_of_another_size(item):
    item["instances"] = make_instances((48, 64), rectangles(48, 64, 2))


def with_masks_that_are_smaller_than_they_say(item):
    masks = item["instances"].gt_masks
    masks.tensor = masks.tensor[:, ::2, ::2]


FAULTS = {
    "'instances' to train on": lambda item: item.pop("instances"),
    "no 'gt_masks': .*MODEL.MASK_ON": without_masks,
    "96x128 pixels, but its ground truth is of 48x64: ": with_masks_of_another_size,
    "but its ground truth is of 48x64": with_masks_that_are_smaller_than_they_say,
    "class 99, but .*MODEL.NUM_CLASSES": lambda item: item["instances"].gt_classes.fill_(99),
    "class -1, but": lambda item: item["instances"].gt_classes.fill_(-1),
    r"shape \(1, 96, 128\)": lambda item: item.update(image=item["image"][:1]),
    r"shape \(96, 128, 3\)": lambda item: item.update(image=torch.zeros(96, 128, 3)),
    "got ndarray": lambda item: item.update(image=np.zeros((3, 96, 128), np.uint8)),
}


@pytest.mark.parametrize(("message", "damage"), FAULTS.items(), ids=FAULTS)
def test_what_would_be_trained_wrongly_is_refused(model, message, damage):
    item = image_input(objects=2)
    damage(item)
    with pytest.raises(ValueError, match=message):
        model([item])


def test_the_fault_names_the_image(model):
    item = {**image_input(objects=2), "file_name": "a/b.jpg"}
    item["instances"].gt_classes.fill_(4711)
    with pytest.raises(ValueError, match=r"file_name 'a/b.jpg' has an object of class 4711"):
        model([item])


def test_pixels_and_labels_of_any_type_are_trained_on(model):
    item = image_input(objects=2)
    item["image"] = item["image"].double()
    item["instances"].gt_classes = item["instances"].gt_classes.int()
    assert all(loss.isfinite() for loss in model([item]).values())


def test_objects_are_none_without_masks_too(model):
    item = image_input(objects=2)
    item["instances"] = Instances((96, 128), gt_classes=torch.zeros(0, dtype=torch.int64))
    assert all(loss.isfinite() for loss in model([item, image_input(objects=1)]).values())


def test_clips_are_trained_on_as_frames(model):
    image = image_input(objects=2)
    clip = {key: [image[key]] * 2 for key in ("image", "instances")}
    assert all(loss.isfinite() for loss in model([clip]).values())


@torch.no_grad()
def test_results_are_the_same_for_pixels_and_sizes_of_any_type(model):
    model = copy.deepcopy(model).eval()
    image = image_input()["image"].to(torch.uint8)
    wanted = model([{"image": image, "height": 50, "width": 70}])[0]["instances"]
    sizes = {"height": torch.tensor(50), "width": 70.0}
    found = model([{"image": image.double(), **sizes}])[0]["instances"]
    assert found.image_size == (50, 70)
    assert all(isinstance(side, int) for side in found.image_size)
    assert torch.equal(found.scores, wanted.scores)
    assert torch.equal(found.pred_masks, wanted.pred_masks)


@torch.no_grad()
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_networks_run_in_half_precision(model, dtype):
    model = copy.deepcopy(model).eval().to(dtype)
    (result,) = model([{"image": image_input()["image"]}])
    assert result["instances"].image_size == (96, 128)
