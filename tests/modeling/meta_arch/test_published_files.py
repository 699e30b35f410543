"""Published files fit the models of their configs, tensor by tensor, and train alike."""

import pytest
import torch
from published_results import official_file, truth, zeros_file

from mobileinst_d2.checkpoint import TrainingCheckpointer
from mobileinst_d2.checkpoint.published_fastinst import FASTINST_LAYOUTS
from mobileinst_d2.checkpoint.published_sparseinst import SPARSEINST_LAYOUTS
from mobileinst_d2.engine import Trainer, setup_cfg


@pytest.mark.usefixtures("drawn_ones")
@pytest.mark.parametrize(
    ("variant", "config"),
    [
        ("sparseinst_r50_giam_softmax", "sparseinst/sparseinst_r50_giam-softmax_coco"),
        ("sparseinst_r50vd_dcn_giam", "sparseinst/sparseinst_r50d-dcn_giam_coco"),
        ("sparseinst_r101_dcn_giam", "sparseinst/sparseinst_r101-dcn_giam_coco"),
        ("sparseinst_pvtv2_b1_giam", "sparseinst/sparseinst_pvtv2-b1_giam_coco"),
        ("sparseinst_pvtv2_b2_li_giam", "sparseinst/sparseinst_pvtv2-b2-li_giam_coco"),
        ("fastinst_r101_d3", "fastinst/fastinst_r101_d3_coco"),
        ("fastinst_r50vd_dcn_d3", "fastinst/fastinst_r50d-dcn_d3_coco"),
        ("fastinst_r50_d3", "fastinst/fastinst_r50_d3_coco"),
        ("yolact_base", "yolact/yolact_r101_coco"),
    ],
)
def test_every_tensor_of_a_published_file_is_in_the_model(published, tmp_path, variant, config):
    path = zeros_file(published, variant, tmp_path / "official.pth")
    model = Trainer.build_model(setup_cfg(f"{config}.yaml", ["MODEL.DEVICE", "cpu"]))
    TrainingCheckpointer(model).load(path)
    assert not any(value.any() for value in model.state_dict().values())
    # What makes softmax_bias useless is no parameter of ours.
    number = published.keys(variant)["parameters"] - ("softmax" in variant)
    assert sum(p.numel() for p in model.parameters()) == number


# Ours, where they have other names than the published ones.
LOSSES = {"loss_ce": "loss_cls", "loss_objectness": "loss_obj"}


@pytest.mark.usefixtures("drawn_ones")
@pytest.mark.parametrize(
    ("variant", "config", "layout", "names"),
    [
        ("sparseinst_r50_iam", "sparseinst_r50_iam", SPARSEINST_LAYOUTS[0], LOSSES),
        ("fastinst_r50_d1", "fastinst_r50_d1", FASTINST_LAYOUTS[0], {}),
    ],
)
def test_a_training_step_has_the_published_losses_and_gradients(
    published, monkeypatch, tmp_path, variant, config, layout, names
):
    rule = published.rule
    monkeypatch.setattr(torch, "rand", rule.rand)  # FastInst's random points
    meta, _ = published.load(f"{variant}_step")
    weights = official_file(published, variant, tmp_path / "official.pth")
    file = f"{config.partition('_')[0]}/{config}_coco.yaml"
    model = Trainer.build_model(setup_cfg(file, ["MODEL.DEVICE", "cpu"]))
    TrainingCheckpointer(model).load(weights)
    batch = [
        {
            "image": torch.from_numpy(rule.image(name, h, w)).permute(2, 0, 1),
            "instances": truth(rule.targets(f"{meta['tag']}:{name}", count, h, w)),
        }
        for count, (name, h, w) in zip(meta["counts"], meta["images"], strict=True)
    ]
    losses = model.train()(batch)
    for name, expected in meta["losses"]["weighted"].items():
        assert losses[names.get(name, name)].item() == pytest.approx(expected, rel=1e-3), name
    sum(losses.values()).backward()
    own = dict(model.named_parameters())
    for name, expected in meta["gradient_norms"].items():
        parts = layout.unpack({name: torch.zeros(3, 1)})
        gradients = [own.pop(layout.rename(part)).grad for part in parts]
        norm = torch.stack([gradient.norm() for gradient in gradients]).norm()
        assert norm.item() == pytest.approx(expected, rel=5e-3, abs=1e-3), name
    assert not own
