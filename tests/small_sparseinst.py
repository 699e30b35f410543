"""A SparseInst that runs in milliseconds."""

import torch
from detectron2.modeling import build_model
from tiny_models import FEW_LAYERS, tiny_config

from mobileinst_d2.modeling import SparseInst

NODE = "MODEL__SPARSEINST__"
SMALL = FEW_LAYERS | {
    "MODEL__META_ARCHITECTURE": "SparseInst",
    f"{NODE}HIDDEN_DIM": 32,
    f"{NODE}NUM_QUERIES": 20,
    f"{NODE}KERNEL_DIM": 16,
    f"{NODE}GROUPS": 4,
}


def build_small_sparseinst(seed: int = 0, **overrides: object) -> SparseInst:
    """Build it from a seed, with its initial weights, in training mode."""
    torch.manual_seed(seed)
    return build_model(tiny_config(**SMALL | overrides))


def build_lively_sparseinst(**overrides: object) -> SparseInst:
    """Build one whose queries differ, in evaluation mode."""
    model = build_small_sparseinst(**overrides)
    decoder = model.instance_decoder
    with torch.no_grad():
        decoder.iam_conv.weight.normal_(std=0.5)
        for head in (decoder.class_head, decoder.kernel_head, decoder.objectness_head):
            head.weight.normal_(std=0.01)
            head.bias.normal_(std=0.5)
    return model.eval()
