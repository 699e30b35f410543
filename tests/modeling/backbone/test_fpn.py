"""The mobile backbones under Detectron2's own detectors."""

import pytest
import torch
from config_files import read_config
from detectron2.config import CfgNode
from detectron2.modeling import build_backbone, build_model
from detectron2.utils.events import EventStorage
from model_inputs import image_input
from tiny_models import noise_image

LOSSES = {
    "retinanet": {"loss_cls", "loss_box_reg"},
    "mask_rcnn": {"loss_cls", "loss_box_reg", "loss_mask", "loss_rpn_cls", "loss_rpn_loc"},
}


def stock_config(detector: str, *overrides: object) -> CfgNode:
    """A config of a stock detector, with small heads and few proposals."""
    cfg = read_config(f"detectron2/{detector}_topformer-b_fpn.yaml")
    small = {
        "MODEL.TOPFORMER.VARIANT": "tiny",
        "MODEL.SEAFORMER.VARIANT": "tiny",
        "MODEL.FPN.OUT_CHANNELS": 32,
        "MODEL.RETINANET.NUM_CONVS": 1,
        "MODEL.RPN.POST_NMS_TOPK_TRAIN": 20,
        "MODEL.RPN.POST_NMS_TOPK_TEST": 20,
        "MODEL.ROI_BOX_HEAD.FC_DIM": 32,
        "MODEL.ROI_MASK_HEAD.CONV_DIM": 32,
    }
    cfg.merge_from_list([item for pair in small.items() for item in pair])
    cfg.merge_from_list(list(overrides))
    return cfg


def training_input(height: int, width: int, objects: int) -> dict:
    item = image_input(height, width, objects)
    item["instances"].gt_boxes = item["instances"].gt_masks.get_bounding_boxes()
    return item


@pytest.mark.parametrize(
    ("detector", "name"),
    [("retinanet", "topformer"), ("mask_rcnn", "seaformer"), ("retinanet", "timm")],
)
def test_stock_detectors_train_and_predict(detector, name):
    model = build_model(stock_config(detector, "MODEL.BACKBONE.NAME", f"build_{name}_fpn_backbone"))
    # Neither side is a multiple of 64, and one is smaller.
    inputs = [training_input(130, 97, 2), training_input(70, 50, 1)]
    with EventStorage():
        losses = model(inputs)
    assert losses.keys() == LOSSES[detector]
    assert all(loss.isfinite() for loss in losses.values())
    sum(losses.values()).backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []

    model.eval()
    with torch.no_grad():
        (output,) = model([{"image": noise_image(70, 131), "height": 35, "width": 65}])
    assert output["instances"].image_size == (35, 65)
    assert output["instances"].has("pred_masks") == (detector == "mask_rcnn")


def test_levels_and_their_sizes():
    backbone = build_backbone(stock_config("retinanet"))
    shapes = {name: (spec.stride, spec.channels) for name, spec in backbone.output_shape().items()}
    assert shapes == {f"p{i}": (2**i, 32) for i in (3, 4, 5, 6, 7)}
    with torch.no_grad():
        features = backbone.eval()(torch.randn(1, 3, 128, 192))
    sizes = [(16, 24), (8, 12), (4, 6), (2, 3), (1, 2)]
    assert [tuple(features[f"p{i}"].shape[2:]) for i in range(3, 8)] == sizes
    torch.testing.assert_close(features["p7"], features["p6"][:, :, ::2, ::2])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("MODEL.FPN.IN_FEATURES", ["res3"], r"entry of MODEL\.FPN\.IN_FEATURES is 'res3'"),
        ("MODEL.FPN.IN_FEATURES", [], r"MODEL\.FPN\.IN_FEATURES is empty.*'x6'"),
    ],
)
def test_what_the_pyramid_cannot_stand_on_is_named(key, value, message):
    with pytest.raises(ValueError, match=message):
        build_backbone(stock_config("retinanet", key, value))
