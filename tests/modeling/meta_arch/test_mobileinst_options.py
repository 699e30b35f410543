"""Each option of the network changes the stage that it belongs to, and what follows from that.

What it changes there is tested next to the stage itself.
"""

import pytest
import torch
from tiny_models import FEW_LAYERS, build_lively_model, noise_image
from torch import nn

# What each stage of the network reads.
READS = {
    "local": (),
    "global": (),
    "fused": ("local", "global"),
    "x_mask": ("fused",),
    "mask_features": ("x_mask",),
    "passing_queries": ("global",),
    "queries": ("passing_queries", "x_mask"),
    "class_logits": ("queries",),
    "kernels": ("queries",),
    "mask_logits": ("kernels", "mask_features"),
}

MODEL = "MODEL__MOBILEINST__"
MASKS, INSTANCES = f"{MODEL}MASK_DECODER__", f"{MODEL}INSTANCE_DECODER__"
# Option, and the stages that it belongs to.
CASES = [
    ({MASKS + "PYRAMID_NORM": ""}, ["fused"]),
    ({MODEL + "NORM": "GN"}, ["fused", "x_mask", "passing_queries"]),
    ({MODEL + "BACKBONE_FEATURES": ["x3", "x4", "x5", "x5"]}, ["fused", "passing_queries"]),
    ({MASKS + "ENHANCERS": []}, ["fused"]),
    ({MASKS + "ENHANCERS": ["input"]}, ["fused"]),
    ({MASKS + "ENHANCERS": ["output"]}, ["fused"]),
    ({MASKS + "DOWNSAMPLE": "max"}, ["fused"]),
    ({MASKS + "DOWNSAMPLE": "bilinear"}, ["fused"]),
    ({MASKS + "DOWNSAMPLE": "conv"}, ["fused"]),
    ({MASKS + "NUM_MASK_CONVS": 2}, ["x_mask"]),
    ({INSTANCES + "NUM_QUERIES": 12}, ["passing_queries"]),
    ({INSTANCES + "NUM_HEADS": 2}, ["passing_queries"]),
    ({INSTANCES + "LAYERS": ["local", "global"]}, ["passing_queries"]),
    ({INSTANCES + "LOCAL_POOL": "avg"}, ["queries"]),
    ({INSTANCES + "LOCAL_POOL": "none"}, ["queries"]),
    ({INSTANCES + "LOCAL_POOL_SIZE": 4}, ["queries"]),
    ({INSTANCES + "FFN_DIM": 0}, ["queries"]),
    ({INSTANCES + "KERNEL_MLP_LAYERS": 3}, ["kernels"]),
    ({MODEL + "KERNEL_DIM": 64}, ["kernels", "mask_features"]),
]


@torch.no_grad()
def stages(model: nn.Module) -> dict[str, torch.Tensor]:
    """What each stage makes of an image."""
    images = model.preprocess_image([{"image": noise_image(128, 192)}])
    features = model.backbone(images.tensor)
    outputs = model.raw_outputs(images.tensor)
    masks = model.mask_decoder(features)
    local = torch.cat([features[name].flatten() for name in ("x3", "x4", "x5")])
    found = {"local": local, "global": features["x6"], **masks._asdict(), **outputs}
    return {name: found[name] for name in READS}


def what_follows(changed: list[str]) -> set[str]:
    """The stages, and those that read them."""
    found = set(changed)
    for name, sources in READS.items():
        if found.intersection(sources):
            found.add(name)
    return found


def copy_weights(source: nn.Module, target: nn.Module) -> None:
    """Copy all that has the same name and shape."""
    ours, theirs = source.state_dict(), target.state_dict()
    same = {k: v for k, v in ours.items() if k in theirs and v.shape == theirs[k].shape}
    target.load_state_dict(same, strict=False)


@pytest.fixture(scope="module")
def plain() -> nn.Module:
    """Without an option. Not to be changed."""
    return build_lively_model(**FEW_LAYERS)


@pytest.mark.parametrize(("option", "first"), CASES, ids=str)
def test_an_option_changes_its_stage_and_what_follows(plain, option, first):
    model = build_lively_model(**FEW_LAYERS, **option)
    copy_weights(plain, model)
    before, after = stages(plain), stages(model)
    changed = {
        name
        for name, x in before.items()
        if x.shape != after[name].shape or not torch.allclose(x, after[name], atol=1e-5)
    }
    assert changed == what_follows(first)


def test_identity_norms_are_the_same_as_none(lively_model):
    """PYRAMID_NORM normalises, and nothing else."""
    without = build_lively_model(**{MASKS + "PYRAMID_NORM": ""})
    normed = build_lively_model(**{MASKS + "PYRAMID_NORM": "BN"})
    for module in normed.mask_decoder.pyramid.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.reset_running_stats()
            module.eps = 0.0
    copy_weights(lively_model, without)
    copy_weights(without, normed)
    with torch.no_grad():
        for name, parameter in without.mask_decoder.pyramid.named_parameters():
            if name.endswith("conv.bias"):
                parameter.zero_()
    expected = stages(without)["fused"]
    difference = stages(normed)["fused"] - expected
    assert difference.abs().max() < 1e-5 * expected.abs().max()
