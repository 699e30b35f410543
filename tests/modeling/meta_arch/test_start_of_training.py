"""Every network of the zoo starts with predictions that differ, at a scale that trains."""

import torch
from config_files import config_names, read_config
from detectron2.modeling import build_model
from tiny_models import noise_image

from mobileinst_d2.engine.optimizer import build_optimizer

SIZE = 128


def networks() -> list[str]:
    """Configs of MobileInst, each network once."""
    found = {}
    for name in (*config_names("mobileinst"), *config_names("toy")):
        cfg = read_config(name)
        if cfg.MODEL.META_ARCHITECTURE != "MobileInst":
            continue
        cfg.MODEL.WEIGHTS, cfg.MODEL.NUM_CLASSES = "", 0
        for key in ("LOSS", "QUERY_PASSING"):
            cfg.MODEL.MOBILEINST.pop(key)
        found.setdefault(str(cfg.MODEL), name)
    return list(found.values())


def test_predictions_start_at_one_scale():
    images = [{"image": noise_image(SIZE, SIZE, seed)} for seed in range(2)]
    for name in networks():
        cfg = read_config(name)
        torch.manual_seed(0)
        model = build_model(cfg).train()
        with torch.no_grad():
            outputs = model.raw_outputs(model.preprocess_image(images).tensor)
        assert outputs["class_logits"].shape[2] == cfg.MODEL.NUM_CLASSES
        over_classes = outputs["class_logits"].std(dim=2).mean().item()
        over_pixels = outputs["mask_logits"].flatten(2).std(dim=2).mean().item()
        assert 0.3 < over_classes < 1.0, f"{name}: a query's classes are told apart at the start"
        assert 0.2 < over_pixels < 1.0, f"{name}: masks have a shape, and do not saturate"
        build_optimizer(cfg, model)
