"""Every tensor of a published file is in the model of its config, and no other one."""

import pytest
from published_results import zeros_file

from mobileinst_d2.checkpoint import TrainingCheckpointer
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
