"""Backbones that start from public files: what is loaded, what is reported, what is refused."""

import logging

import pytest
import timm
import torch
from detectron2.modeling import build_backbone
from public_checkpoints import (
    earliest_topformer,
    our_names,
    seaformer,
    timm_mobilenetv2,
    timm_mobilenetv4,
    topformer_backbone,
    topformer_classifier,
    torchvision_mobilenetv2,
    with_segmentation_head,
)
from small_repvit import SMALL_REPVIT
from tiny_models import build_tiny_model, tiny_config
from torch import nn

from mobileinst_d2.checkpoint import (
    CheckpointError,
    load_backbone_weights,
    load_pretrained_backbone,
)
from mobileinst_d2.checkpoint.backbones import load_timm_weights
from mobileinst_d2.modeling import SeaFormer, TimmBackbone, TopFormer


@pytest.fixture
def save(tmp_path):
    def save_file(content, name="weights.pth"):
        torch.save(content, tmp_path / name)
        return str(tmp_path / name)

    return save_file


def tensors_of(module):
    """All tensors that say something."""
    state = module.state_dict()
    return {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}


def in_timm_backbone(state):
    """timm's state dict under the names of `TimmBackbone`."""
    return {f"network.{name}": value for name, value in state.items()}


# What is in a file, the backbone, the names there, what stays random and what is left over.
CASES = {
    "topformer": (
        lambda: topformer_classifier("tiny"),
        lambda: TopFormer(variant="tiny"),
        our_names,
        ("SIM.1 (15)", "head (6)"),
    ),
    "seaformer": (
        lambda: seaformer("tiny"),
        lambda: SeaFormer(variant="tiny"),
        our_names,
        ("nothing", "linear (2)"),
    ),
    "mobilenetv2": (
        torchvision_mobilenetv2,
        TimmBackbone,
        lambda state: in_timm_backbone(timm_mobilenetv2(state)),
        ("global_layers.0 (5)", "conv_head (1), bn2 (4), classifier (2)"),
    ),
    "mobilenetv4": (
        timm_mobilenetv4,
        lambda: TimmBackbone(name="mobilenetv4_conv_small"),
        in_timm_backbone,
        ("global_layers.0 (5)", "blocks (5)"),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_classification_files_fill_all_but_what_they_lack(case, save, caplog):
    make, build, names, (random, left) = CASES[case]
    file, backbone = make(), build()
    state = names(file)
    before = {name: value.clone() for name, value in tensors_of(backbone).items()}
    with caplog.at_level(logging.INFO):
        load_backbone_weights(backbone, save({"state_dict": file, "epoch": 300}))
    after = tensors_of(backbone)
    stays = ("SIM.", "global_layers.")
    for name, value in after.items():
        expected = before[name] if name.startswith(stays) else state[name]
        assert torch.equal(value, expected), name
    number = sum(not name.startswith(stays) for name in after)
    assert f"{number} of the backbone's {len(after)} tensors" in caplog.text
    assert f"random start: {random}" in caplog.text
    assert f"not needed: {left}" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_segmentation_files_fill_topformer_with_its_injection(save, caplog):
    state = topformer_backbone("tiny", sim=True)
    backbone = TopFormer(variant="tiny")
    with caplog.at_level(logging.INFO):
        load_backbone_weights(backbone, save({"state_dict": with_segmentation_head(state)}))
    expected = our_names(state)
    assert tensors_of(backbone).keys() == {n for n in expected if "num_batches" not in n}
    assert all(torch.equal(value, expected[name]) for name, value in tensors_of(backbone).items())
    assert "TopFormer-Tiny, entry state_dict" in caplog.text
    assert "Left at their random start: nothing." in caplog.text
    assert "not needed: decode_head (6)." in caplog.text


def test_the_earliest_names_are_loaded(save):
    state = topformer_backbone("tiny", sim=True)
    topformer = TopFormer(variant="tiny")
    load_backbone_weights(topformer, save(earliest_topformer(state)))
    assert torch.equal(
        topformer.state_dict()["SIM.1.global_act.norm.bias"], state["SIM.1.global_act.bn.bias"]
    )


@pytest.mark.parametrize("name", ["TopFormer", "SeaFormer", "TimmBackbone"])
def test_the_backbone_of_a_whole_model_is_loaded(name, save, caplog):
    model = build_tiny_model(seed=1, MODEL__BACKBONE__NAME=name)
    backbone = build_tiny_model(seed=2, MODEL__BACKBONE__NAME=name).backbone
    with caplog.at_level(logging.INFO):
        load_backbone_weights(backbone, save({"model": model.state_dict(), "trainer": {}}))
    expected = tensors_of(model.backbone)
    assert all(torch.equal(value, expected[name]) for name, value in tensors_of(backbone).items())
    assert "random start: nothing." in caplog.text
    assert "not needed: mask_decoder (" in caplog.text


def test_half_precision_files_fill_frozen_normalisations_in_single_precision(save):
    half = {name: value.to(torch.float16) for name, value in torchvision_mobilenetv2().items()}
    backbone = TimmBackbone(norm="FrozenBN")
    load_backbone_weights(backbone, save(half))
    state = timm_mobilenetv2(half)
    for name, value in tensors_of(backbone.network).items():
        assert value.dtype == torch.float32
        assert torch.equal(value, state[name].float()), name


@pytest.mark.parametrize(
    ("state", "build", "message"),
    [
        (
            lambda: topformer_classifier("small"),
            lambda: TopFormer(variant="tiny"),
            r"backbone TopFormer-Tiny.*looks like TopFormer-Small.*For example tpm\.\S+ is \(24, ",
        ),
        (
            lambda: torchvision_mobilenetv2(1.4),
            TimmBackbone,
            r"backbone MobileNetV2-1\.0: only 0 of.*looks like MobileNetV2-1\.4",
        ),
        (
            lambda: seaformer("tiny"),
            lambda: TopFormer(variant="tiny"),
            r"only 0 of.*looks like SeaFormer-Tiny.*\['smb1.*\['tpm",
        ),
        (
            lambda: dict(list(torchvision_mobilenetv2().items())[:60]),
            TimmBackbone,
            "only 50 of its 260",
        ),
        (lambda: {"epoch": 3}, TimmBackbone, "no mapping of names to tensors"),
    ],
    ids=["size", "width", "network", "part", "nothing"],
)
def test_files_that_do_not_fit_are_named_and_change_nothing(state, build, message, save):
    backbone = build()
    before = {name: value.clone() for name, value in tensors_of(backbone).items()}
    with pytest.raises(CheckpointError, match=rf"(?s)weights\.pth.*{message}"):
        load_backbone_weights(backbone, save(state()))
    assert all(torch.equal(value, before[name]) for name, value in tensors_of(backbone).items())


def test_a_few_other_shapes_are_left_out_with_a_warning(save, caplog):
    state = topformer_backbone("tiny", sim=True)
    with caplog.at_level(logging.WARNING):
        backbone = TopFormer(variant="tiny", sim_channels=32)
        load_backbone_weights(backbone, save(state))
    assert torch.equal(backbone.tpm.stem[0].conv.weight, state["tpm.stem.0.c.weight"])
    assert "45 tensors have another shape" in caplog.text
    assert "SIM.1 (15), SIM.2 (15), SIM.3 (15)" in caplog.text
    assert "(128, 32, 1, 1) in the file and (32, 32, 1, 1) in the backbone" in caplog.text


@pytest.mark.parametrize("fpn", [False, True], ids=["plain", "fpn"])
def test_the_backbone_gets_the_file_of_the_key(fpn, save):
    state = topformer_backbone("tiny", sim=True)
    cfg = tiny_config(
        MODEL__BACKBONE__NAME="build_topformer_fpn_backbone" if fpn else "TopFormer",
        MODEL__FPN__IN_FEATURES=["x3", "x4"],
        MODEL__BACKBONE__WEIGHTS=save(state),
    )
    model = nn.ModuleDict({"backbone": build_backbone(cfg)})
    backbone = model["backbone"].bottom_up if fpn else model["backbone"]
    model.backbone = model["backbone"]
    assert load_pretrained_backbone(cfg, model)
    first = state["tpm.stem.0.c.weight"]
    assert torch.equal(backbone.tpm.stem[0].conv.weight, first)


@pytest.fixture
def timm_hub(monkeypatch):
    """What timm publishes: networks with weights of their own, by the name with its tag."""
    create, asked = timm.create_model, []

    def create_model(name, *, pretrained=False, **options):
        if pretrained:
            asked.append(name)
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(timm, "create_model", create_model)
    return asked


def test_timms_own_weights_are_loaded_where_they_are_asked_for(timm_hub, caplog):
    name = "mobilenetv4_conv_small.e2400_r224_in1k"
    options = {"MODEL__BACKBONE__NAME": "TimmBackbone", "MODEL__TIMM__NAME": name}
    cfg = tiny_config(MODEL__BACKBONE__WEIGHTS="timm", **options)
    model = build_tiny_model(MODEL__BACKBONE__WEIGHTS="timm", **options)
    assert timm_hub == []
    before = model.backbone.network.conv_stem.weight.clone()
    assert load_pretrained_backbone(cfg, model)
    assert timm_hub == [name]
    assert not torch.equal(model.backbone.network.conv_stem.weight, before)
    assert "PIXEL" not in caplog.text
    cfg.MODEL.PIXEL_STD = [1.0, 1.0, 1.0]
    load_pretrained_backbone(cfg, model)
    assert timm_hub.pop() == name
    assert "trained with MODEL.PIXEL_STD [58.395, 57.12, 57.375] (RGB)" in caplog.text
    assert not load_pretrained_backbone(tiny_config(**options), model)
    with pytest.raises(CheckpointError, match="TimmBackbone, not for TopFormer: name a file"):
        load_pretrained_backbone(cfg, build_tiny_model())
    assert timm_hub == [name]


def test_without_a_connection_timms_weights_are_an_error_with_a_way_out(monkeypatch):
    def create_model(name, **options):
        raise OSError("cannot find the requested files in the local cache.\nMore of it.")

    backbone = TimmBackbone()
    monkeypatch.setattr(timm, "create_model", create_model)
    with pytest.raises(
        CheckpointError, match=r"local cache\. .*of timm/mobilenetv2_100\.ra_in1k\) in MODEL\.BACK"
    ):
        load_timm_weights(backbone)


@pytest.mark.parametrize("name", [SMALL_REPVIT, "mobilenetv3_small_050", "ghostnet_050"])
def test_files_of_other_networks_of_timm_are_loaded(name, save, caplog):
    public = timm.create_model(name).state_dict()
    backbone = TimmBackbone(name=name)
    with caplog.at_level(logging.INFO):
        load_backbone_weights(backbone, save(public))
    number = len(tensors_of(backbone.network))
    assert f"{number} of the backbone's {number + 5} tensors" in caplog.text
    # Also out of a whole model.
    other = TimmBackbone(name=name)
    state = {f"model.backbone.{k}": v for k, v in backbone.state_dict().items()}
    load_backbone_weights(other, save({"state_dict": state | {"head.weight": torch.ones(1)}}))
    expected = tensors_of(backbone)
    assert all(torch.equal(value, expected[name]) for name, value in tensors_of(other).items())


def test_folded_batch_norms_are_announced(save, caplog):
    state = torchvision_mobilenetv2()
    load_backbone_weights(TimmBackbone(), save(state))
    # The test's folder, which the log names, has "folded" in it.
    assert "statistics are folded" not in caplog.text
    trivial = {"running_mean": 0, "running_var": 1, "weight": 1, "bias": 0.5}
    for name in state:
        layer, _, kind = name.rpartition(".")
        if f"{layer}.running_mean" in state and kind in trivial:
            state[name] = torch.full_like(state[name], trivial[kind])
    load_backbone_weights(TimmBackbone(), save(state, "folded.pth"))
    assert "batch norms whose statistics are folded" in caplog.text


def test_the_mobiles_weights_are_loaded(shared_data, caplog):
    path = shared_data("weights", "mobilenetv2_imagenet.pth")
    with caplog.at_level(logging.INFO):
        backbone = TimmBackbone(global_feature="pool")
        load_backbone_weights(backbone, str(path))
    state = timm_mobilenetv2(torch.load(path, weights_only=True))
    assert all(torch.equal(v, state[n]) for n, v in tensors_of(backbone.network).items())
    assert "Left at their random start: nothing." in caplog.text
