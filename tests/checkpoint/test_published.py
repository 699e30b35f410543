"""Files of whole models, as their authors released them, are recognised and loaded."""

import logging
import re

import pytest
import torch
from torch import nn

from mobileinst_d2.checkpoint import CheckpointError, TrainingCheckpointer, published
from mobileinst_d2.checkpoint.published import PublishedLayout


class Segmentor(nn.Module):
    """Stands for a published system."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        self.backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
        self.class_head = nn.Linear(4, classes)


def rename(name: str) -> str | None:
    if name.startswith("criterion."):
        return None
    return name.replace("predictor.", "class_head.").replace("body.", "backbone.")


LAYOUT = PublishedLayout("Segmentor", ("body.0.weight", "predictor.bias"), rename)


@pytest.fixture(autouse=True)
def layouts(monkeypatch):
    monkeypatch.setattr(published, "PUBLISHED_LAYOUTS", (LAYOUT,))


def official(model: nn.Module) -> dict[str, torch.Tensor]:
    """The model's state under the official names, with what no model needs."""
    state = {
        name.replace("class_head.", "predictor.").replace("backbone.", "body."): value
        for name, value in model.state_dict().items()
    }
    return {**state, "criterion.empty_weight": torch.ones(6)}


def load(tmp_path, content: object, model: nn.Module, **options: object) -> None:
    torch.save(content, tmp_path / "official.pth")
    checkpointer = TrainingCheckpointer(model, str(tmp_path), **options)
    checkpointer.resume_or_load(str(tmp_path / "official.pth"), resume=False)


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    "wrap",
    [lambda s: s, lambda s: {"model": s}, lambda s: {"state_dict": s, "epoch": 3}],
    ids=["plain", "model", "state_dict"],
)
def test_all_wrappings_are_loaded_with_one_line_of_report(tmp_path, caplog, wrap, prefix):
    torch.manual_seed(1)
    old, new = Segmentor(), Segmentor()
    content = wrap({prefix + name: value for name, value in official(old).items()})
    with caplog.at_level(logging.INFO):
        load(tmp_path, content, new)
    for name, value in old.state_dict().items():
        assert torch.equal(new.state_dict()[name], value), name
    reports = [r for r in caplog.records if "published Segmentor" in r.getMessage()]
    assert len(reports) == 1
    assert re.search(
        r"8 of the model's 8 .* start: nothing\. .*not needed: criterion \(1\)",
        reports[0].getMessage(),
    )
    assert not [r for r in caplog.records if r.levelno > logging.INFO]


def test_a_file_of_another_system_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"of Segmentor, and the model is Linear"):
        load(tmp_path, official(Segmentor()), nn.Linear(4, 5))


def test_files_of_another_depth_name_tensors(tmp_path):
    state = official(Segmentor())
    deeper, shallower = {**state, "body.3.weight": torch.ones(2)}, dict(state)
    del shallower["body.1.running_var"]
    with pytest.raises(CheckpointError, match=r"no tensors of the model.*body\.3\.weight of the"):
        load(tmp_path, deeper, Segmentor())
    with pytest.raises(CheckpointError, match=r"backbone\.1\.running_var of the model"):
        load(tmp_path, shallower, Segmentor())


def test_counters_of_batches_may_be_absent(tmp_path):
    old, new = Segmentor(), Segmentor()
    state = official(old)
    del state["body.1.num_batches_tracked"]
    load(tmp_path, state, new)
    assert torch.equal(new.class_head.weight, old.class_head.weight)


def test_another_number_of_classes_is_an_error_but_in_a_new_training(tmp_path, caplog):
    old, new = Segmentor(7), Segmentor()
    with pytest.raises(CheckpointError, match=r"class_head\.weight is \(7, 4\) in the file"):
        load(tmp_path, official(old), new)
    own = new.class_head.weight.clone()

    def keep_class_head(model: nn.Module, tensors: dict) -> dict:
        return {**tensors, **{f"class_head.{n}": p for n, p in model.class_head.named_parameters()}}

    with caplog.at_level(logging.INFO):
        load(tmp_path, official(old), new, adapt=keep_class_head)
    assert torch.equal(new.backbone[0].weight, old.backbone[0].weight)
    assert torch.equal(new.class_head.weight, own)
    assert "6 of the model's 8" in caplog.text
    assert "random start: class_head.weight, class_head.bias" in caplog.text
