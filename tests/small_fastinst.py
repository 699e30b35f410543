"""A FastInst that runs in milliseconds."""

import torch
from detectron2.modeling import build_model
from tiny_models import FEW_LAYERS, tiny_config

from mobileinst_d2.modeling import FastInst

NODE = "MODEL__FASTINST__"
SMALL = FEW_LAYERS | {
    "MODEL__META_ARCHITECTURE": "FastInst",
    f"{NODE}HIDDEN_DIM": 32,
    f"{NODE}NUM_QUERIES": 12,
    f"{NODE}NUM_LAYERS": 2,
    f"{NODE}NUM_HEADS": 4,
    f"{NODE}LOSS__NUM_POINTS": 112,
    "TEST__SCORE_THRESHOLD": 0.0,
    "TEST__PROCEDURE": "mask2former",
}
# A light Mask2Former.
LIGHT = {f"{NODE}DECODER": "mask2former"}


def build_small_fastinst(seed: int = 0, **overrides: object) -> FastInst:
    """Build it from a seed, with its initial weights, in training mode."""
    torch.manual_seed(seed)
    return build_model(tiny_config(**SMALL | overrides))


def build_lively_fastinst(**overrides: object) -> FastInst:
    """Build one whose masks have shapes, in evaluation mode."""
    model = build_small_fastinst(**overrides)
    with torch.no_grad():
        for head in model.decoder.heads:
            head.mask_head[-1].weight.normal_(std=0.5)
            head.class_head[-1].weight.normal_(std=0.5)
        if model.decoder.proposals is not None:
            model.decoder.proposals.classifier.weight.normal_(std=0.5)
    return model.eval()
