"""Convolutions in int8, the rest and the sensitive ones in fp32."""

import copy
import logging

import numpy as np
import onnx
import pytest
import torch
from small_network import SIZE, small_config
from tiny_models import noise_image
from torch import nn

from mobileinst_core.runtime.runners import OnnxRunner
from mobileinst_d2.export import ExportedModel, export_model, export_module, read_manifest
from mobileinst_d2.export.quantize import Quantizer, mask_agreement

IMAGES = [noise_image(*SIZE, seed) for seed in range(3)]


def integer_convolutions(path):
    """Weights of the convolutions whose inputs are dequantised."""
    graph = onnx.load(path).graph
    produced = {output: node for node in graph.node for output in node.output}
    found = []
    for node in graph.node:
        if node.op_type == "Conv":
            source = produced.get(node.input[1])
            if source is not None and source.op_type == "DequantizeLinear":
                found.append(node)
    return found


def test_int8_is_written_next_to_what_it_was_made_with(network, exported, tmp_path, caplog):
    folder = tmp_path / "int8"
    held_out = [noise_image(*SIZE, seed) for seed in (7, 8)]
    images = {"calibration": IMAGES, "held_out": held_out}
    with caplog.at_level(logging.INFO):
        manifest = export_model(network, small_config(), SIZE, "onnx", folder, **images)
    assert manifest.precision == "int8"
    assert [manifest.quantization[f"{part}_images"] for part in images] == [3, 2]
    kept = len(manifest.quantization["fp32_convolutions"])
    assert len(integer_convolutions(folder / "reuse.onnx")) == 2 - kept
    assert integer_convolutions(folder / "keyframe.onnx") == []
    exact = ExportedModel.load(exported("onnx")).keyframe(IMAGES)
    found = ExportedModel.load(folder).keyframe(IMAGES)
    for output, expected in exact.items():
        difference = np.abs(found[output] - expected).max()
        assert 0 < difference < 0.1 * np.abs(expected).max()
    agreement = manifest.graphs["keyframe"]["mask_agreement"]
    assert agreement["masks"] > 0
    assert 0.5 < agreement["mean_iou"] <= 1
    assert 0 <= agreement["share_iou_90"] <= 1
    assert "int8 and fp32 on 2 images" in caplog.text


def test_masks_of_other_weights_do_not_agree(network, exported):
    module = network.export_graphs(SIZE)["keyframe"]
    folder = exported("onnx")
    graph = dict(read_manifest(folder).graphs["keyframe"])
    images = [noise_image(*SIZE, 7).numpy()[None].astype(np.float32)]
    same = mask_agreement("onnx", folder, graph, module, images, 0.0)
    assert same["mean_iou"] > 0.999
    other = copy.deepcopy(network)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(torch.randn_like(parameter) * parameter.std())
    module = other.export_graphs(SIZE)["keyframe"]
    assert mask_agreement("onnx", folder, graph, module, images, 0.0)["mean_iou"] < 0.8


@pytest.mark.parametrize(("share", "level"), [(0.4, logging.WARNING), (0.9, logging.INFO)])
def test_masks_that_int8_changes_much_are_a_warning(monkeypatch, caplog, share, level):
    found = {"masks": 5, "mean_iou": share, "share_iou_90": share}
    monkeypatch.setattr("mobileinst_d2.export.quantize.mask_agreement", lambda *_: found)
    with caplog.at_level(logging.INFO):
        assert Quantizer(IMAGES).compare_masks("onnx", None, None, None) == found
    (record,) = caplog.records
    assert record.levelno == level
    assert ("measure its accuracy" in record.getMessage()) == (level == logging.WARNING)


class Sensitive(nn.Module):
    """The first convolution's channels have very different ranges."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv2d(3, 8, 1)
        self.second = nn.Conv2d(8, 8, 1, groups=8)
        self.third = nn.Conv2d(8, 8, 3, padding=1)
        with torch.no_grad():
            scale = 10.0 ** -torch.arange(8.0).view(8, 1, 1, 1)
            self.first.weight.mul_(scale)
            self.first.bias.zero_()
            self.second.weight.copy_(1 / scale)

    def forward(self, image):
        return self.third(self.second(self.first(image / 255)))


def test_convolutions_that_int8_would_ruin_stay_in_fp32(tmp_path):
    module = Sensitive().eval()
    images = [image[None].float().numpy() for image in IMAGES]
    graph = export_module("onnx", module, torch.from_numpy(images[0]), tmp_path / "net.onnx")
    quantizer = Quantizer(images)
    quantizer(tmp_path, graph)
    assert quantizer.float_weights == ["first.weight", "second.weight"]
    assert len(integer_convolutions(tmp_path / "net.onnx")) == 1
    found = OnnxRunner(tmp_path, graph)(images[0])["output"]
    with torch.no_grad():
        expected = module(torch.from_numpy(images[0])).numpy()
    assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
