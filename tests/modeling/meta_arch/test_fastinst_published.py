"""With the published weights' names, FastInst gives what the public code gives."""

import logging

import pytest
import torch
from detectron2.config import CfgNode
from published_results import check_results, official_file, records, truth, watch
from torch import nn

from mobileinst_d2.checkpoint import TrainingCheckpointer
from mobileinst_d2.engine import Trainer, load_predictor, setup_cfg

pytestmark = pytest.mark.usefixtures("drawn_ones")  # which files replace


@pytest.fixture
def same_points(published, monkeypatch) -> None:
    """Random points as the reference has them."""
    monkeypatch.setattr(torch, "rand", published.rule.rand)


def config(repository, name: str, *opts: object) -> CfgNode:
    path = repository / "configs" / "fastinst" / f"fastinst_{name}_coco.yaml"
    return setup_cfg(str(path), ["MODEL.DEVICE", "cpu", *opts])


@pytest.fixture
def trained(repository, published, tmp_path) -> nn.Module:
    """FastInst-D1 with weights by rule, in training mode."""
    weights = official_file(published, "fastinst_r50_d1", tmp_path / "official.pth")
    model = Trainer.build_model(config(repository, "r50_d1"))
    TrainingCheckpointer(model).load(weights)
    return model.train()


def test_outputs_and_results_are_the_published_ones(repository, published, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    meta, arrays = published.load("fastinst_r50_d1")
    weights = official_file(published, meta["keys"], tmp_path / "official.pth", "model")
    shortest, longest = meta["test_size"]
    sizes = ("INPUT.MIN_SIZE_TEST", shortest, "INPUT.MAX_SIZE_TEST", longest)
    cfg = config(repository, "r50_d1", "MODEL.WEIGHTS", weights, *sizes)
    predictor = load_predictor(cfg)
    (report,) = [r.getMessage() for r in caplog.records if "published FastInst" in r.getMessage()]
    assert "at their random start: nothing" in report
    model = predictor.model
    batch = records(published, meta, predictor)
    seen = watch(model.backbone, model.pixel_decoder)
    with torch.no_grad():
        padded = model.preprocess_image(batch).tensor
        found = model.raw_outputs(padded)
        pyramid, levels = seen
        results = model(batch)
    assert list(padded.shape[-2:]) == meta["padded"]
    # Pixels of nearly the same rank may change places, and the queries with them.
    places = torch.from_numpy(arrays["query_pixels"])
    assert found.proposals.pixels.sort().values.tolist() == places.sort().values.tolist()
    order = (places[:, :, None] == found.proposals.pixels[:, None]).int().argmax(2)
    first, last = found.predictions

    def in_order(x: torch.Tensor) -> torch.Tensor:
        return torch.stack([values[o] for values, o in zip(x, order, strict=True)])

    values = {
        **{name: pyramid[name] for name in model.in_features},
        **dict(zip(("E3", "E4", "E5"), levels, strict=True)),
        "proposal_cls_logits": found.proposals.logits,
        "pred_masks_head0": in_order(first.mask_logits),
        "pred_logits": in_order(last.class_logits),
        "pred_masks": in_order(last.mask_logits),
    }
    for key, value in values.items():
        comparison = published.compare(meta, arrays, key, value.numpy())
        assert comparison["ok"], (key, comparison)
    for expected, result in zip(meta["results"], results, strict=True):
        check_results(published, expected, result["instances"])


@pytest.mark.usefixtures("same_points")
@pytest.mark.parametrize("case", ["fastinst_d1_training_1_5", "fastinst_d1_training_0_0"])
def test_heads_matching_losses_and_gradients_are_the_published_ones(
    published, trained, monkeypatch, case
):
    meta, arrays = published.load(case)
    rule, tag, (height, width) = published.rule, meta["tag"], meta["padded"]
    levels = [
        torch.from_numpy(rule.values(f"{tag}:E{i}", (2, 256, height >> i, width >> i), 1.0))
        for i in (3, 4, 5)
    ]
    for level in levels:
        level.requires_grad_()
    # The case begins behind the pixel decoder.
    monkeypatch.setattr(trained.backbone, "forward", lambda _: dict.fromkeys(trained.in_features))
    monkeypatch.setattr(trained.pixel_decoder, "forward", lambda _: levels)
    batch = [
        {
            "image": torch.zeros(3, height, width),
            "instances": truth(rule.targets(f"{tag}:image{i}", count, height, width)),
        }
        for i, count in enumerate(meta["counts"])
    ]
    seen = {}
    original = trained.criterion.forward

    def record(guided, outputs, match, targets, proposals):
        seen.update(outputs=[*guided, *outputs], match=match, proposals=proposals, targets=targets)
        return original(guided, outputs, match, targets, proposals)

    monkeypatch.setattr(trained.criterion, "forward", record)
    losses = trained(batch)
    for name, outputs in zip(("0", "1", "last"), seen["outputs"], strict=True):
        for kind in ("logits", "masks"):
            value = getattr(outputs, "class_logits" if kind == "logits" else "mask_logits")
            difference = published.compare(
                meta, arrays, f"pred_{kind}_{name}", value.detach().numpy()
            )
            assert difference["max"] < 2e-3, (name, kind, difference)
    pixels = trained.criterion.matcher.match_pixels(seen["proposals"].logits, seen["targets"])
    for name, match in {"last": seen["match"], "guided": seen["match"], "proposal": pixels}.items():
        for image, found in enumerate(match):
            assert torch.stack(found).tolist() == arrays[f"match_{name}_image{image}"].tolist()
    assert list(losses) == [
        *("loss_ce_0", "loss_mask_0", "loss_dice_0", "loss_ce_1", "loss_mask_1", "loss_dice_1"),
        *("loss_ce", "loss_mask", "loss_dice", "loss_proposal"),
    ]
    for name, expected in meta["losses"]["weighted"].items():
        assert losses[name].item() == pytest.approx(expected, rel=1e-4, abs=1e-6), name
    sum(losses.values()).backward()
    for level, x in zip((3, 4, 5), levels, strict=True):
        if x.grad is not None:
            assert published.compare(meta, arrays, f"grad_E{level}", x.grad.numpy())["max"] < 1e-3
        else:
            assert not arrays[f"grad_E{level}@sample"].any()
