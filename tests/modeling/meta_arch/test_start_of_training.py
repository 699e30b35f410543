"""Every network of the zoo starts with predictions that differ, at a scale that trains."""

from pathlib import Path

import pytest
import torch
from detectron2.config import CfgNode, get_cfg
from detectron2.modeling import build_model
from tiny_models import noise_image

from mobileinst_d2 import add_mobileinst_config

CONFIGS = Path(__file__).resolve().parents[3] / "configs"
SIZE = 128


def config(file: Path) -> CfgNode:
    cfg = get_cfg()
    add_mobileinst_config(cfg)
    cfg.merge_from_file(str(file))
    cfg.MODEL.DEVICE = "cpu"
    return cfg


def networks() -> dict[str, CfgNode]:
    """Configs of MobileInst by name, each network once."""
    found = {}
    for folder in ("mobileinst", "toy", "mobileinst/ablations"):
        for file in sorted((CONFIGS / folder).glob("*.yaml")):
            cfg = config(file)
            if cfg.MODEL.META_ARCHITECTURE != "MobileInst":
                continue
            cfg.MODEL.WEIGHTS, cfg.MODEL.NUM_CLASSES = "", 0
            for key in ("LOSS", "QUERY_PASSING"):
                cfg.MODEL.MOBILEINST.pop(key)
            found.setdefault(str(cfg.MODEL), file)
    return {file.stem: config(file) for file in found.values()}


@pytest.mark.parametrize("cfg", networks().values(), ids=networks().keys())
def test_predictions_start_at_one_scale(cfg):
    model = build_model(cfg).train()
    images = [{"image": noise_image(SIZE, SIZE, seed)} for seed in range(2)]
    with torch.no_grad():
        outputs = model.raw_outputs(model.preprocess_image(images).tensor)
    over_classes = outputs["class_logits"].std(dim=2).mean().item()
    over_pixels = outputs["mask_logits"].flatten(2).std(dim=2).mean().item()
    assert 0.3 < over_classes < 1.0, "a query's classes are told apart from the start"
    assert 0.2 < over_pixels < 1.0, "masks have a shape, and do not saturate"
