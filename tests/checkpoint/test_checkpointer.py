"""A kill at any moment leaves a good checkpoint; a bad one is named with a way out."""

import logging
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from detectron2.modeling import FPN
from public_checkpoints import our_names, topformer_backbone, with_segmentation_head
from torch import nn
from toy_training import make_cfg, run, same, weights

from mobileinst_d2.checkpoint import CheckpointError, TrainingCheckpointer
from mobileinst_d2.modeling import TopFormer


def make_checkpointer(folder, model=None):
    return TrainingCheckpointer(model or nn.Linear(2, 2), str(folder))


def test_a_model_that_is_not_finite_is_not_written(tmp_path):
    model = nn.BatchNorm1d(2)
    checkpointer = make_checkpointer(tmp_path, model)
    checkpointer.save("model_0000001")
    model.running_var[0] = float("inf")
    with pytest.raises(FloatingPointError, match=r"model_0000002.*running_var"):
        checkpointer.save("model_0000002")
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000001.pth"]


@pytest.mark.parametrize("name", ["model_0000001", "model_0000002"])
def test_a_failure_while_writing_keeps_the_old_files(tmp_path, monkeypatch, name):
    checkpointer = make_checkpointer(tmp_path)
    checkpointer.save("model_0000001")
    before = Path(tmp_path, "model_0000001.pth").read_bytes()

    def write_half(data, file):
        file.write(before[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", write_half)
    with pytest.raises(KeyboardInterrupt):
        checkpointer.save(name)
    assert Path(tmp_path, "model_0000001.pth").read_bytes() == before
    assert Path(tmp_path, "last_checkpoint").read_text() == "model_0000001.pth"
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000001.pth"]


def test_what_a_kill_while_writing_leaves_is_no_checkpoint(tmp_path):
    checkpointer = make_checkpointer(tmp_path)
    checkpointer.save("model_0000001")
    Path(tmp_path, "model_0000002.pth.tmp").write_bytes(b"half")
    assert checkpointer.get_all_checkpoint_files() == [str(tmp_path / "model_0000001.pth")]
    checkpointer.save("model_0000002")
    assert not Path(tmp_path, "model_0000002.pth.tmp").exists()


def truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def fill_with_zeros(path):
    path.write_bytes(bytes(path.stat().st_size))


@pytest.mark.parametrize("damage", [truncate, fill_with_zeros, Path.unlink])
def test_a_bad_last_checkpoint_is_named_with_the_one_before(tmp_path, damage):
    cfg = make_cfg(tmp_path, "SOLVER.MAX_ITER", 10)
    run(cfg, interrupt_at=8)
    damage(tmp_path / "model_0000007.pth")
    with pytest.raises(CheckpointError) as caught:
        run(cfg, resume=True)
    message = str(caught.value)
    assert "model_0000007.pth" in message
    assert f"The newest good checkpoint is {tmp_path / 'model_0000003.pth'}" in message
    # The advice in the message works.
    (tmp_path / "last_checkpoint").write_text("model_0000003.pth\n")
    _, history = run(cfg, resume=True)
    assert min(history) == 4


def leave_weights_alone(folder):
    torch.save({"model": {}}, folder / "exported.pth")
    truncate(folder / "model_0000003.pth")


def name_weights_alone(folder):
    model = torch.load(folder / "model_0000003.pth")["model"]
    torch.save({"model": model}, folder / "exported.pth")
    (folder / "last_checkpoint").write_text("exported.pth")


def change_a_shape(folder):
    content = torch.load(folder / "model_0000003.pth")
    content["model"]["head.weight"] = torch.zeros(3, 4)
    torch.save(content, folder / "model_0000003.pth")


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (leave_weights_alone, "No other checkpoint"),
        (name_weights_alone, r"exported\.pth holds weights.*model_0000003\.pth"),
        (lambda folder: (folder / "last_checkpoint").write_text(""), r"good .*model_0000003\.pth"),
        (change_a_shape, r"does not fit ToyNet.*head\.weight is \(3, 4\)"),
    ],
)
def test_what_cannot_be_resumed_is_told(tmp_path, damage, message):
    run(make_cfg(tmp_path), interrupt_at=4)
    damage(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        run(make_cfg(tmp_path), resume=True)


def save_as(path, content):
    """As those who publish such files write them."""
    path.write_bytes(pickle.dumps(content, 2)) if path.suffix == ".pkl" else torch.save(
        content, path
    )
    return path


@pytest.mark.parametrize(
    ("suffix", "reason"),
    [("pth", r"mapping .*torch\.save"), ("pkl", "plain mapping"), ("pyth", "plain mapping")],
)
@pytest.mark.parametrize("content", [{"epoch": 1}, [1], {}, {"model": 3, "__author__": "me"}])
def test_files_without_weights_are_named(tmp_path, content, suffix, reason):
    path = save_as(tmp_path / f"weights.{suffix}", content)
    with pytest.raises(CheckpointError, match=rf"weights\.{suffix} holds no {reason}"):
        make_checkpointer(tmp_path).load(str(path))


@pytest.mark.parametrize(
    ("state", "names"),
    [
        ({"encoder.weight": torch.zeros(2)}, r".*encoder\.weight.*'bias'"),
        (nn.Linear(3, 3).state_dict(), ""),
    ],
)
def test_weights_of_another_model_are_named(tmp_path, state, names):
    torch.save({"model": state}, tmp_path / "weights.pth")
    with pytest.raises(CheckpointError, match=rf"No parameter of Linear{names}"):
        make_checkpointer(tmp_path).load(str(tmp_path / "weights.pth"))


def test_weights_that_match_in_part_are_loaded_and_the_rest_is_logged(tmp_path, caplog):
    path = tmp_path / "weights.pth"
    torch.save({"model": {"weight": torch.full((2, 2), 7.0)}}, path)
    model = nn.Linear(2, 2)
    with caplog.at_level(logging.WARNING):
        make_checkpointer(tmp_path, model).load(str(path))
    assert (model.weight == 7).all()
    assert "bias" in caplog.text


def test_a_failed_load_does_not_hinder_the_next(tmp_path, monkeypatch):
    """Detectron2 after 0.6 marks a load under way, and leaves the mark after a failure."""
    checkpointer, earlier = make_checkpointer(tmp_path), DetectionCheckpointer.load
    if not hasattr(checkpointer, "_parsed_url_during_load"):

        def load(self, path, *args, **kwargs):
            assert self._parsed_url_during_load is None
            self._parsed_url_during_load = path
            rest = earlier(self, path.partition("?")[0], *args, **kwargs)
            self._parsed_url_during_load = None
            return rest

        monkeypatch.setattr(DetectionCheckpointer, "_parsed_url_during_load", None, raising=False)
        monkeypatch.setattr(DetectionCheckpointer, "load", load)
    checkpointer.save("model_0000001", iteration=1)
    (tmp_path / "bad.pth").write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match=r"bad\.pth cannot be read"):
        checkpointer.load(str(tmp_path / "bad.pth"))
    good = f"{tmp_path / 'model_0000001.pth'}?matching_heuristics=True"
    assert checkpointer.load(good)["iteration"] == 1


def test_weights_start_at_iteration_zero(tmp_path):
    trained, _ = run(make_cfg(tmp_path / "a", "SOLVER.MAX_ITER", 2))
    cfg = make_cfg(
        tmp_path / "b", "SOLVER.MAX_ITER", 2, "MODEL.WEIGHTS", str(tmp_path / "a/model_final.pth")
    )
    fine_tuned, history = run(cfg)
    assert list(history) == [0, 1]
    assert not same(weights(fine_tuned), weights(trained))


ZOO = {"conv1_w": np.full((2, 2), 7.0, "float32"), "conv1_w_momentum": np.zeros(1)}


@pytest.mark.parametrize(
    ("suffix", "content"),
    [
        ("pkl", ZOO),
        ("pkl", {"blobs": ZOO, "cfg": "text"}),
        ("pkl", {"model": {"stem.conv1.weight": ZOO["conv1_w"]}, "__author__": "test"}),
        ("pyth", {"model_state": {"conv1.weight": torch.full((2, 2), 7.0)}, "epoch": 1}),
    ],
)
def test_files_of_zoos_are_matched_as_detectron2_does(tmp_path, suffix, content):
    path = save_as(tmp_path / f"weights.{suffix}", content)
    model = nn.ModuleDict({"stem": nn.ModuleDict({"conv1": nn.Linear(2, 2)})})
    make_checkpointer(tmp_path, model).load(str(path))
    assert (model.stem.conv1.weight == 7).all()


class Payload:
    """Writes a file when it is unpickled without care."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.makedirs, (str(self.mark),)


@pytest.mark.parametrize("name", ["weights.pth", "weights.pkl", "weights.pyth"])
def test_code_in_a_file_is_not_run(tmp_path, name):
    mark = tmp_path / "mark"
    content = {"model": nn.Linear(2, 2).state_dict(), "x": Payload(mark)}
    path = save_as(tmp_path / name, content)
    with pytest.raises(CheckpointError, match=rf"{name} holds more.*makedirs"):
        make_checkpointer(tmp_path).load(str(path))
    assert not mark.exists()


class Model(nn.Module):
    """A head, and a backbone inside Detectron2's FPN."""

    def __init__(self):
        super().__init__()
        self.backbone = FPN(TopFormer(variant="tiny"), ["x3", "x4", "x5"], 8)
        self.head = nn.Linear(2, 2)


@pytest.mark.parametrize("layout", ["classification", "segmentation"])
def test_public_files_go_into_the_backbone(tmp_path, layout, caplog):
    state = topformer_backbone("tiny", sim=layout == "segmentation")
    file = with_segmentation_head(state) if layout == "segmentation" else state
    torch.save({"state_dict": file, "epoch": 9}, tmp_path / "public.pth")
    model = Model()
    head = model.head.weight.clone()
    with caplog.at_level(logging.INFO):
        rest = make_checkpointer(tmp_path, model).load(str(tmp_path / "public.pth"))
    loaded = model.backbone.bottom_up.state_dict()
    for name, value in our_names(state).items():
        assert "num_batches" in name or torch.equal(loaded[name], value), name
    assert torch.equal(model.head.weight, head)
    assert "(TopFormer-Tiny, entry state_dict)" in caplog.text
    assert "backbone only: all other parts of Model stay random" in caplog.text
    assert rest == {}


@pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s}, lambda s: {"m": 1, "model": s}])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_whole_models_in_other_wrappings_are_loaded_whole(tmp_path, wrap, prefix):
    old, new = Model(), Model()
    state = {prefix + name: value for name, value in old.state_dict().items()}
    torch.save(wrap(state), tmp_path / "whole.pth")
    make_checkpointer(tmp_path, new).load(str(tmp_path / "whole.pth"))
    assert same(new.state_dict(), old.state_dict())


def test_what_a_new_training_starts_with_is_for_new_trainings_alone(tmp_path):
    model, started = nn.Linear(2, 2), []
    checkpointer = TrainingCheckpointer(model, str(tmp_path), start=started.append)
    for resume in (False, True):  # there is nothing to resume yet
        checkpointer.resume_or_load("", resume=resume)
        assert started.pop() is model
    checkpointer.save("model_0000001")
    whole = str(tmp_path / "model_0000001.pth")
    checkpointer.resume_or_load("", resume=True)
    checkpointer.resume_or_load(whole, resume=False)
    assert started == []


def test_a_training_starts_from_a_public_file(tmp_path):
    # The toy's backbone is of no known network: its own names are looked for.
    state = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).state_dict()
    torch.save({"state_dict": state}, tmp_path / "public.pth")
    cfg = make_cfg(tmp_path, "MODEL.WEIGHTS", str(tmp_path / "public.pth"), "SOLVER.BASE_LR", 0.0)
    trainer, history = run(cfg, interrupt_at=0)
    assert torch.equal(trainer.model.backbone[0].weight, state["0.weight"])
    assert list(history) == [0]
