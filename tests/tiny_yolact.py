"""A YOLACT that runs in milliseconds."""

from pathlib import Path

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from detectron2.structures import BitMasks, Boxes, Instances
from torch import nn

from mobileinst_d2.engine import setup_cfg

_CONFIG = Path(__file__).resolve().parent.parent / "configs" / "yolact" / "base.yaml"
_SIZES = {
    "MODEL.DEVICE": "cpu",
    "MODEL.NUM_CLASSES": 4,
    "MODEL.BACKBONE.NAME": "TimmBackbone",
    "MODEL.BACKBONE.WEIGHTS": "",
    "MODEL.TIMM.NAME": "test_efficientnet",
    "MODEL.YOLACT.INPUT_SIZE": [70, 90],
    "MODEL.YOLACT.HIDDEN_DIM": 16,
    "MODEL.YOLACT.ANCHOR_SIZES": [12, 24, 48, 70],
    "DATASETS.TEST": (),
    "DATASETS.TRAIN": (),
    "DATALOADER.NUM_WORKERS": 0,
}


def tiny_yolact_config(**overrides: object) -> CfgNode:
    """A small variant of the base config; ``__`` in a keyword stands for a dot."""
    values = _SIZES | {key.replace("__", "."): value for key, value in overrides.items()}
    return setup_cfg(_CONFIG, [x for pair in values.items() for x in pair])


def build_tiny_yolact(seed: int = 0, **overrides: object) -> nn.Module:
    """Build the model from a seed, in training mode."""
    torch.manual_seed(seed)
    return build_model(tiny_yolact_config(**overrides))


def build_lively_yolact(seed: int = 0, **overrides: object) -> nn.Module:
    """Build one that finds many things anywhere, in evaluation mode."""
    model = build_tiny_yolact(seed, **overrides)
    with torch.no_grad():
        # Not more, as rounding grows with them.
        model.head.classes.weight.mul_(8)
        model.head.coefficients.weight.mul_(3)
        model.head.boxes.weight.mul_(3)
        for module in model.backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.momentum = 1.0
        model.backbone(torch.randn(4, 3, 70, 90))
    return model.eval()


def training_record(
    size: tuple[int, int], boxes: list[tuple[int, int, int, int]], crowds: object = ()
) -> dict:
    """An image of noise with a full rectangle of class 0, 1, ... for each box x0, y0, x1, y1."""
    masks = torch.zeros(len(boxes), *size, dtype=torch.bool)
    for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
        mask[y0:y1, x0:x1] = True
    instances = Instances(size)
    instances.gt_classes = torch.arange(len(boxes)) % 4
    instances.gt_masks = BitMasks(masks)
    return {
        "image": torch.randint(0, 256, (3, *size), dtype=torch.uint8),
        "instances": instances,
        "crowd_boxes": Boxes(torch.tensor(list(crowds), dtype=torch.float32).reshape(-1, 4)),
    }
