"""Each option of the network is read, and changes what is predicted.

What it changes is tested next to the stage itself.
"""

import pytest
import torch
from tiny_models import FEW_LAYERS, build_lively_model, noise_image
from torch import nn

MODEL = "MODEL__MOBILEINST__"
MASKS, INSTANCES = f"{MODEL}MASK_DECODER__", f"{MODEL}INSTANCE_DECODER__"
OPTIONS = {
    MASKS + "PYRAMID_NORM": [""],
    MODEL + "NORM": ["GN"],
    MODEL + "BACKBONE_FEATURES": [["x3", "x4", "x5", "x5"]],
    MASKS + "ENHANCERS": [[], ["input"], ["output"]],
    MASKS + "DOWNSAMPLE": ["max", "bilinear", "conv"],
    MASKS + "NUM_MASK_CONVS": [2],
    INSTANCES + "NUM_QUERIES": [12],
    INSTANCES + "NUM_HEADS": [2],
    INSTANCES + "LAYERS": [["local", "global"]],
    INSTANCES + "LOCAL_POOL": ["avg", "none"],
    INSTANCES + "LOCAL_POOL_SIZE": [4],
    INSTANCES + "FFN_DIM": [0],
    INSTANCES + "KERNEL_MLP_LAYERS": [3],
    MODEL + "KERNEL_DIM": [64],
}


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    """Without an option. Not to be changed."""
    return build_lively_model(**FEW_LAYERS)


@torch.no_grad()
def mask_logits(model: nn.Module) -> torch.Tensor:
    images = model.preprocess_image([{"image": noise_image(128, 192)}])
    return model.raw_outputs(images.tensor)["mask_logits"]


@pytest.mark.parametrize("option", OPTIONS)
def test_an_option_changes_the_masks(plain, option):
    expected, state = mask_logits(plain), plain.state_dict()
    for value in OPTIONS[option]:
        model = build_lively_model(**FEW_LAYERS, **{option: value})
        own = model.state_dict()
        same = {k: v for k, v in state.items() if k in own and v.shape == own[k].shape}
        model.load_state_dict(same, strict=False)
        found = mask_logits(model)
        assert found.shape != expected.shape or not torch.allclose(found, expected, atol=1e-5)
