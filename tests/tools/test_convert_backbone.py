"""Converted backbones are found by stock Detectron2 in any model that contains them."""

import functools
import pickle

import pytest
import timm
import torch
from config_files import read_config
from convert_backbone import main
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import build_backbone, build_model
from public_checkpoints import (
    our_names,
    seaformer,
    timm_mobilenetv2,
    topformer_backbone,
    torchvision_mobilenetv2,
    with_segmentation_head,
)
from small_repvit import SMALL_REPVIT
from tiny_models import tiny_config
from torch import nn

PLAIN = {"conv.weight": torch.ones(2)}


@functools.cache
def file_of(name):
    """The content of a public file, and the names and tensors that it stands for."""
    if name == "TopFormer":
        state = topformer_backbone("tiny", sim=True)
        return {"state_dict": with_segmentation_head(state)}, our_names(state)
    if name == "SeaFormer":
        state = seaformer("tiny")
        return {"state_dict": PLAIN, "state_dict_ema": state}, our_names(state)
    state = torchvision_mobilenetv2()
    return state, timm_mobilenetv2(state)


@pytest.fixture
def public(tmp_path):
    def save(name="TopFormer"):
        torch.save(file_of(name)[0], tmp_path / "public.pth")
        return str(tmp_path / "public.pth")

    return save


@pytest.mark.parametrize(
    ("name", "suffix"), [("TopFormer", "pkl"), ("SeaFormer", "pth"), ("MobileNetV2", "pkl")]
)
@pytest.mark.parametrize("is_stock", [False, True], ids=["mobileinst", "stock"])
def test_stock_detectron2_loads_all_of_it(tmp_path, public, name, is_stock, suffix):
    """Into MobileInst, and into Detectron2's RetinaNet on a feature pyramid on the backbone."""
    output = tmp_path / f"converted.{suffix}"
    main([public(name), str(output)])
    cfg = read_config("detectron2/retinanet_topformer-b_fpn.yaml") if is_stock else tiny_config()
    kind = "TimmBackbone" if name == "MobileNetV2" else name
    fpn = f"build_{'timm' if name == 'MobileNetV2' else name.lower()}_fpn_backbone"
    cfg.MODEL.BACKBONE.NAME = fpn if is_stock else kind
    cfg.MODEL.TOPFORMER.VARIANT = cfg.MODEL.SEAFORMER.VARIANT = "tiny"
    model, prefix = build_model(cfg), "backbone.bottom_up." if is_stock else "backbone."
    DetectionCheckpointer(model).load(str(output))
    state, loaded = file_of(name)[1], model.state_dict()
    own = [n.removeprefix(prefix) for n in loaded if n.startswith(prefix)]
    # What timm's networks lack is the way to stride 64.
    own = [n for n in own if not n.startswith("global_layers.")]
    assert len(own) > 200
    for tensor in own:
        public_tensor = state[tensor.removeprefix("network.")]
        torch.testing.assert_close(loaded[prefix + tensor], public_tensor, rtol=0, atol=0)


def test_any_network_of_timm_is_converted_by_its_name(tmp_path):
    public = timm.create_model(SMALL_REPVIT).state_dict()
    torch.save(public, tmp_path / "public.pth")
    output = str(tmp_path / "converted.pkl")
    main([str(tmp_path / "public.pth"), output, "--timm", SMALL_REPVIT])
    cfg = tiny_config(
        MODEL__BACKBONE__NAME="build_timm_fpn_backbone",
        MODEL__FPN__IN_FEATURES=["x3", "x4", "x5"],
        MODEL__TIMM__NAME=SMALL_REPVIT,
    )
    model = nn.ModuleDict({"backbone": build_backbone(cfg)})
    DetectionCheckpointer(model).load(output)
    loaded = model["backbone"].bottom_up.network.state_dict()
    assert len(loaded) > 200
    for name, value in loaded.items():
        assert torch.equal(value, public[name.replace("_", ".", 1) if "stages_" in name else name])


def test_the_file_is_one_of_detectron2s_zoo(tmp_path, public, capsys):
    main([public(), str(tmp_path / "folder/converted.pkl"), "--arch", "TopFormer"])
    content = pickle.loads((tmp_path / "folder/converted.pkl").read_bytes())
    assert content["matching_heuristics"] is True
    assert content["__author__"] == "TopFormer-Tiny"
    assert content["model"].keys() == file_of("TopFormer")[1].keys()
    printed = capsys.readouterr().out
    assert "converted: tpm (135), trans (128), SIM (45); left out: decode_head (6)" in printed


@pytest.mark.parametrize(
    ("content", "options", "message"),
    [
        ({"state_dict": PLAIN}, [], "no checkpoint of TopFormer.*conv"),
        ({"epoch": 3}, [], "no checkpoint of TopFormer"),
        (
            "TopFormer",
            ["--arch", "MobileNetV2"],
            r"public\.pth.*of TopFormer-Tiny, not of MobileNetV2",
        ),
        (torch.nn.Linear(2, 2), [], "holds more than plain data"),
        ("TopFormer", ["--timm", "mobilenetv2_050"], "does not fit the backbone"),
        ("TopFormer", ["--timm", "repvit_m09"], "'repvit_m09'; the closest are repvit_m"),
    ],
)
def test_what_cannot_be_converted_is_named(tmp_path, content, options, message, fails):
    content = file_of(content)[0] if content == "TopFormer" else content
    torch.save(content, tmp_path / "public.pth")
    fails(message, main, [str(tmp_path / "public.pth"), str(tmp_path / "converted.pkl"), *options])
    assert [path.name for path in tmp_path.iterdir()] == ["public.pth"]


def test_files_are_not_overwritten_unless_asked_for(tmp_path, public, fails):
    fails(r"must end in \.pkl or \.pth", main, [public(), str(tmp_path / "converted.bin")])
    output = tmp_path / "converted.pth"
    output.write_text("mine")
    fails(r"exists already; --overwrite", main, [public(), str(output)])
    assert output.read_text() == "mine"
    main([public(), str(output), "--overwrite"])
    assert torch.load(output)["__author__"] == "TopFormer-Tiny"
