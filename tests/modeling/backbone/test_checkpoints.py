"""Backbones that start from public files: what is loaded, what is reported, what is refused."""

import logging

import pytest
import torch
import torchvision
from public_checkpoints import (
    earliest_topformer,
    our_names,
    seaformer_tiny,
    timm_mobilenetv2,
    timm_mobilenetv4,
    topformer_backbone,
    topformer_classifier,
    torchvision_mobilenetv2,
    with_segmentation_head,
)
from tiny_models import build_tiny_model

from mobileinst_d2.modeling import MobileNetV2, MobileNetV4, SeaFormer, TopFormer
from mobileinst_d2.modeling.backbone.checkpoint_reader import CheckpointError
from mobileinst_d2.modeling.backbone.checkpoints import load_backbone_weights


@pytest.fixture(autouse=True)
def _visible_log_records(monkeypatch):
    # Detectron2's setup_logger, when any test before called it, cuts this logger off from caplog.
    monkeypatch.setattr(logging.getLogger("mobileinst_d2"), "propagate", True)


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


CASES = {
    "topformer": (topformer_classifier("tiny"), lambda: TopFormer(variant="tiny"), "SIM."),
    "seaformer": (seaformer_tiny(), lambda: SeaFormer(variant="tiny"), "none"),
    "mobilenetv2": (torchvision_mobilenetv2(), MobileNetV2, "global_layers."),
    "mobilenetv4": (timm_mobilenetv4(), MobileNetV4, "global_layers."),
}


@pytest.mark.parametrize("case", CASES)
def test_classification_files_fill_all_but_what_they_lack(case, save, caplog):
    state, build, random = CASES[case]
    backbone = build()
    file = {"state_dict": state, "epoch": 300}
    state = state if case.startswith("mobilenet") else our_names(state)
    before = {name: value.clone() for name, value in tensors_of(backbone).items()}
    with caplog.at_level(logging.INFO):
        load_backbone_weights(backbone, save(file))
    after = tensors_of(backbone)
    for name, value in after.items():
        expected = before[name] if name.startswith(random) else state[name]
        assert torch.equal(value, expected), name
    number = sum(not name.startswith(random) for name in after)
    assert f"{number} of the backbone's {len(after)} tensors" in caplog.text
    assert "num_batches" not in caplog.text


@pytest.mark.parametrize("size", ["tiny", "small", "base"])
def test_segmentation_files_fill_topformer_with_its_injection(size, save, caplog):
    state = topformer_backbone(size, sim=True)
    backbone = TopFormer(variant=size)
    with caplog.at_level(logging.INFO):
        load_backbone_weights(backbone, save({"state_dict": with_segmentation_head(state)}))
    expected = our_names(state)
    assert tensors_of(backbone).keys() == {n for n in expected if "num_batches" not in n}
    assert all(torch.equal(value, expected[name]) for name, value in tensors_of(backbone).items())
    assert f"TopFormer-{size.title()}, entry state_dict" in caplog.text
    assert "Left at their random start: nothing." in caplog.text
    assert "not needed: decode_head (6)." in caplog.text


def test_the_report_names_what_is_random_and_what_is_not_needed(save, caplog):
    with caplog.at_level(logging.INFO):
        load_backbone_weights(MobileNetV2(), save(torchvision_mobilenetv2()))
    assert "random start: global_layers.0 (1), global_layers.1 (4)." in caplog.text
    assert "not needed: features.18 (5), classifier (2)." in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_earliest_names_and_timms_are_loaded(save):
    state = topformer_backbone("tiny", sim=True)
    topformer = TopFormer(variant="tiny")
    load_backbone_weights(topformer, save(earliest_topformer(state)))
    assert torch.equal(
        topformer.state_dict()["SIM.1.global_act.norm.bias"], state["SIM.1.global_act.bn.bias"]
    )
    state = torchvision_mobilenetv2()
    mobilenet = MobileNetV2()
    load_backbone_weights(mobilenet, save(timm_mobilenetv2(state)))
    loaded = tensors_of(mobilenet.features)
    assert all(torch.equal(value, state[f"features.{name}"]) for name, value in loaded.items())


def test_outputs_equal_torchvisions(save):
    public = torchvision.models.mobilenet_v2()
    public.load_state_dict(torchvision_mobilenetv2())
    backbone = MobileNetV2(weights=save(timm_mobilenetv2(public.state_dict()))).eval()
    x = torch.randn(1, 3, 64, 96)
    with torch.no_grad():
        features = backbone(x)
        expected = public.eval().features[:18](x)
    scale = expected.abs().max()
    torch.testing.assert_close(features["x5"] / scale, expected / scale, atol=1e-5, rtol=0)


def test_averaged_weights_are_loaded(save, caplog):
    plain, average = topformer_classifier("tiny"), topformer_classifier("tiny")
    content = {"state_dict": plain, "state_dict_ema": average, "args": None}
    backbone = TopFormer(variant="tiny")
    with caplog.at_level(logging.INFO):
        load_backbone_weights(backbone, save(content))
    assert torch.equal(backbone.tpm.stem[0].conv.weight, average["tpm.stem.0.c.weight"])
    assert "entry state_dict_ema" in caplog.text


@pytest.mark.parametrize("name", ["TopFormer", "SeaFormer", "MobileNetV2", "MobileNetV4"])
def test_the_backbone_of_a_whole_model_is_loaded(name, save, caplog):
    model = build_tiny_model(seed=1, MODEL__BACKBONE__NAME=name)
    backbone = build_tiny_model(seed=2, MODEL__BACKBONE__NAME=name).backbone
    with caplog.at_level(logging.INFO):
        load_backbone_weights(backbone, save({"model": model.state_dict(), "trainer": {}}))
    expected = tensors_of(model.backbone)
    assert all(torch.equal(value, expected[name]) for name, value in tensors_of(backbone).items())
    assert "random start: nothing." in caplog.text
    assert "not needed: mask_decoder (" in caplog.text


def test_the_mobiles_weights_are_loaded(shared_data, caplog):
    path = shared_data("weights", "mobilenetv2_imagenet.pth")
    with caplog.at_level(logging.INFO):
        backbone = MobileNetV2(global_feature="pool", weights=str(path))
    state = torch.load(path, weights_only=True)
    assert all(torch.equal(v, state[n]) for n, v in tensors_of(backbone).items())
    assert "Left at their random start: nothing." in caplog.text


def test_frozen_normalisations_are_filled(save):
    state = torchvision_mobilenetv2()
    backbone = MobileNetV2(norm="FrozenBN", weights=save(state))
    loaded = tensors_of(backbone.features)
    assert all(torch.equal(value, state[f"features.{name}"]) for name, value in loaded.items())


def test_half_precision_files_are_loaded_in_single_precision(save):
    half = {name: value.to(torch.float16) for name, value in torchvision_mobilenetv2().items()}
    backbone = MobileNetV2(weights=save(half))
    assert backbone.features[0][0].weight.dtype == torch.float32
    assert torch.equal(backbone.features[0][0].weight, half["features.0.0.weight"].float())


@pytest.mark.parametrize(
    ("state", "build", "message"),
    [
        (
            topformer_classifier("small"),
            lambda: TopFormer(variant="base"),
            r"backbone TopFormer-Base.*looks like TopFormer-Small.*For example tpm\.\S+ is \(24, ",
        ),
        (
            with_segmentation_head(topformer_backbone("base", sim=True)),
            lambda: TopFormer(variant="tiny"),
            "backbone TopFormer-Tiny.*looks like TopFormer-Base",
        ),
        (
            seaformer_tiny(),
            lambda: SeaFormer(variant="large"),
            "backbone SeaFormer-Large.*looks like SeaFormer-Tiny",
        ),
        (
            torchvision_mobilenetv2(1.4),
            MobileNetV2,
            r"backbone MobileNetV2-1\.0: only 0 of.*looks like MobileNetV2-1\.4",
        ),
        (
            seaformer_tiny(),
            lambda: TopFormer(variant="tiny"),
            r"only 0 of.*looks like SeaFormer-Tiny.*\['smb1.*\['tpm",
        ),
        ({"layer1.0.weight": torch.ones(2)}, MobileNetV2, r"only 0 of.*\['layer1.*\['features"),
        (dict(list(torchvision_mobilenetv2().items())[:60]), MobileNetV2, "only 50 of its 260"),
        ({"epoch": 3}, MobileNetV2, "no mapping of names to tensors"),
    ],
    ids=["size", "size-ade", "size-sea", "width", "network", "names", "part", "nothing"],
)
def test_files_that_do_not_fit_are_named_and_change_nothing(state, build, message, save):
    backbone = build()
    before = {name: value.clone() for name, value in tensors_of(backbone).items()}
    with pytest.raises(CheckpointError, match=rf"(?s)weights\.pth.*{message}"):
        load_backbone_weights(backbone, save(state))
    assert all(torch.equal(value, before[name]) for name, value in tensors_of(backbone).items())


def test_a_few_other_shapes_are_left_out_with_a_warning(save, caplog):
    state = topformer_backbone("tiny", sim=True)
    with caplog.at_level(logging.WARNING):
        backbone = TopFormer(variant="tiny", sim_channels=32, weights=save(state))
    assert torch.equal(backbone.tpm.stem[0].conv.weight, state["tpm.stem.0.c.weight"])
    assert "45 tensors have another shape" in caplog.text
    assert "SIM.1 (15), SIM.2 (15), SIM.3 (15)" in caplog.text
    assert "(128, 32, 1, 1) in the file and (32, 32, 1, 1) in the backbone" in caplog.text


@pytest.mark.parametrize(
    ("name", "state"),
    [
        ("TopFormer", topformer_classifier("tiny")),
        ("SeaFormer", seaformer_tiny()),
        ("MobileNetV2", torchvision_mobilenetv2()),
        ("MobileNetV4", timm_mobilenetv4()),
    ],
    ids=["TopFormer", "SeaFormer", "MobileNetV2", "MobileNetV4"],
)
def test_every_backbone_reads_the_key(name, state, save):
    model = build_tiny_model(
        MODEL__BACKBONE__NAME=name,
        MODEL__BACKBONE__WEIGHTS=save(state),
        MODEL__SEAFORMER__VARIANT="tiny",
    )
    first, value = next(iter(model.backbone.state_dict().items()))
    assert torch.equal(value, {**state, **our_names(state)}[first])


def test_a_missing_file_is_named_with_its_key():
    with pytest.raises(FileNotFoundError, match=r"MODEL\.BACKBONE\.WEIGHTS.*gone\.pth"):
        build_tiny_model(MODEL__BACKBONE__WEIGHTS="gone.pth")


def test_folded_batch_norms_are_announced(save, caplog):
    state = torchvision_mobilenetv2()
    load_backbone_weights(MobileNetV2(), save(state))
    assert "folded" not in caplog.text
    trivial = {"running_mean": 0, "running_var": 1, "weight": 1, "bias": 0.5}
    for name in state:
        layer, _, kind = name.rpartition(".")
        if f"{layer}.running_mean" in state and kind in trivial:
            state[name] = torch.full_like(state[name], trivial[kind])
    load_backbone_weights(MobileNetV2(), save(state, "folded.pth"))
    assert "batch norms whose statistics are folded" in caplog.text
