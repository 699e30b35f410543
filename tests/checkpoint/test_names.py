"""Where the weights of a file are, and under which names our backbones want them."""

import numpy as np
import pytest
import torch
from public_checkpoints import (
    our_name,
    seaformer,
    timm_mobilenetv2,
    timm_mobilenetv4,
    topformer_backbone,
    topformer_classifier,
    torchvision_mobilenetv2,
)

from mobileinst_d2.checkpoint.names import (
    describe_network,
    find_backbone,
    find_state_dict,
    match_names,
)

PLAIN = {"a.weight": torch.zeros(2)}
AVERAGE = {"a.weight": torch.ones(2)}


@pytest.mark.parametrize(
    ("content", "entry"),
    [
        ({"state_dict": PLAIN, "state_dict_ema": AVERAGE, "epoch": 3}, "state_dict_ema"),
        ({"model": PLAIN, "model_ema": AVERAGE}, "model_ema"),
        ({"state_dict": PLAIN, "ema_state_dict": AVERAGE}, "ema_state_dict"),
        ({"model": PLAIN, "state_dict": AVERAGE}, "state_dict"),
        ({"model": AVERAGE, "optimizer": {}}, "model"),
        (AVERAGE, ""),
        ({"state_dict": PLAIN, "model_ema": {"module": AVERAGE, "decay": 0.9}}, "model_ema.module"),
        ({"model": {"state_dict": PLAIN, "state_dict_ema": AVERAGE}}, "model.state_dict_ema"),
        ({"state_dict": PLAIN, "model_ema": {"module.a.weight": torch.ones(2)}}, "model_ema"),
        ({"state_dict_ema": None, "state_dict": AVERAGE}, "state_dict"),
        ({"state_dict_ema": {}, "model_ema": {"decay": 1}, "model": AVERAGE}, "model"),
        ({"model": {"a.weight": np.ones(2, dtype="float32"), "note": "text"}}, "model"),
    ],
)
def test_averaged_weights_are_preferred(content, entry):
    tensors, found = find_state_dict(content)
    assert found == entry
    assert list(tensors) == ["a.weight"]
    assert torch.equal(tensors["a.weight"], torch.ones(2))


def prefixed(prefix, state):
    return {prefix + name: value for name, value in state.items()}


@pytest.mark.parametrize("wrap", ["", "model.backbone.bottom_up."])
@pytest.mark.parametrize(
    ("make", "network", "dropped"),
    [
        (lambda: topformer_classifier("small"), "TopFormer-Small", ("head.",)),
        (lambda: topformer_backbone("tiny", sim=True), "TopFormer-Tiny", ()),
        (lambda: seaformer("tiny"), "SeaFormer-Tiny", ("linear.",)),
        (
            lambda: timm_mobilenetv2(torchvision_mobilenetv2()),
            "MobileNetV2-1.0",
            ("conv_head.", "bn2.", "classifier."),
        ),
        (
            lambda: timm_mobilenetv2(torchvision_mobilenetv2(1.4)),
            "MobileNetV2-1.4",
            ("conv_head.", "bn2.", "classifier."),
        ),
        (
            timm_mobilenetv4,
            "MobileNetV4-Small",
            ("blocks.4.", "conv_head.", "norm_head.", "classifier."),
        ),
    ],
)
def test_networks_are_known_wherever_they_stand(make, network, dropped, wrap):
    state = make()
    part = find_backbone(prefixed(wrap, state) | {"decode_head.weight": torch.ones(1)})
    assert describe_network(part) == network
    others = [name for name in state if name.startswith(dropped)]
    assert part.others == [*(wrap + name for name in others), "decode_head.weight"]
    ours = str if network.startswith("MobileNet") else our_name
    kept = {ours(name): value for name, value in state.items() if name not in others}
    assert list(part.tensors) == list(kept)
    assert all(part.tensors[name] is kept[name] for name in kept)


@pytest.mark.parametrize("prefix", ["", "backbone.", "module.encoder."])
def test_tensors_of_a_backbone_are_found_wherever_they_stand(prefix):
    own = ["network.stem_0.conv.weight", "network.stages_0.bn1.bias", "global_layers.0.weight"]
    public = ["stem.0.conv.weight", "stages.0.bn1.bias", "head.weight"]
    matches = match_names(own, [prefix + name for name in public])
    assert matches == {own[0]: prefix + public[0], own[1]: prefix + public[1]}
    assert match_names(own, [prefix + name for name in own]) == {n: prefix + n for n in own}
    # Of two copies the outer one.
    copies = [f"{prefix}{name}" for name in public] + [f"{prefix}teacher.{name}" for name in public]
    assert match_names(own, copies) == matches
    assert match_names(own, ["other.weight"]) == {}
