"""A kill at any moment leaves a good checkpoint; a bad one is named with a way out."""

import logging
import os
import pickle
from pathlib import Path
from urllib.parse import urlparse

import numpy as np
import pytest
import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import nn
from toy_training import make_cfg, run, same, weights

from mobileinst_d2.engine.checkpoint import CheckpointError, TrainingCheckpointer


def make_checkpointer(folder, model=None):
    return TrainingCheckpointer(model or nn.Linear(2, 2), str(folder))


def test_round_trip(tmp_path):
    model = nn.Linear(2, 2)
    make_checkpointer(tmp_path, model).save("model_0000001", iteration=1)
    other = nn.Linear(2, 2)
    extra = make_checkpointer(tmp_path, other).resume_or_load("", resume=True)
    assert same(other.state_dict(), model.state_dict())
    assert extra["iteration"] == 1
    assert Path(tmp_path, "last_checkpoint").read_text() == "model_0000001.pth"
    assert sorted(os.listdir(tmp_path)) == ["last_checkpoint", "model_0000001.pth"]


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


@pytest.mark.parametrize(
    "damage", [truncate, fill_with_zeros, Path.unlink, lambda path: path.write_bytes(b"")]
)
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


def test_a_bad_checkpoint_before_is_not_recommended(tmp_path):
    cfg = make_cfg(tmp_path, "SOLVER.MAX_ITER", 10)
    run(cfg, interrupt_at=8)
    for path in tmp_path.glob("*.pth"):
        truncate(path)
    with pytest.raises(CheckpointError, match="No other checkpoint"):
        run(cfg, resume=True)


def test_weights_alone_are_not_recommended_for_resuming(tmp_path):
    run(make_cfg(tmp_path), interrupt_at=4)
    torch.save({"model": {}}, tmp_path / "exported.pth")
    truncate(tmp_path / "model_0000003.pth")
    with pytest.raises(CheckpointError, match="No other checkpoint"):
        run(make_cfg(tmp_path), resume=True)


def test_weights_alone_cannot_be_resumed(tmp_path):
    trainer, _ = run(make_cfg(tmp_path), interrupt_at=4)
    torch.save({"model": trainer.model.state_dict()}, tmp_path / "exported.pth")
    (tmp_path / "last_checkpoint").write_text("exported.pth")
    with pytest.raises(CheckpointError, match=r"exported\.pth holds weights.*model_0000003\.pth"):
        run(make_cfg(tmp_path), resume=True)


def test_an_empty_tag_is_an_error(tmp_path):
    run(make_cfg(tmp_path), interrupt_at=4)
    (tmp_path / "last_checkpoint").write_text("")
    with pytest.raises(CheckpointError, match=r"newest good checkpoint is .*model_0000003\.pth"):
        run(make_cfg(tmp_path), resume=True)


def test_missing_weights_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth.*MODEL\.WEIGHTS"):
        run(make_cfg(tmp_path, "MODEL.WEIGHTS", "nowhere.pth"))


@pytest.mark.parametrize("content", [b"no checkpoint at all", b"", b"<html>404</html>"])
def test_weights_of_another_kind_are_named(tmp_path, content):
    path = tmp_path / "weights.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"weights\.pth cannot be read"):
        make_checkpointer(tmp_path).load(str(path))


@pytest.mark.parametrize("content", [{"epoch": 1}, [1, 2], 3, {"model": 3}])
def test_weights_in_another_layout_are_named(tmp_path, content):
    path = tmp_path / "weights.pth"
    torch.save(content, path)
    with pytest.raises(CheckpointError, match=r"weights\.pth.*torch\.save"):
        make_checkpointer(tmp_path).load(str(path))


def test_weights_of_another_model_are_named(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"model": {"encoder.weight": torch.zeros(2)}}, path)
    with pytest.raises(CheckpointError, match=r"No parameter of Linear.*encoder\.weight.*'bias'"):
        make_checkpointer(tmp_path).load(str(path))


def test_weights_of_other_shapes_only_are_named(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save({"model": nn.Linear(3, 3).state_dict()}, path)
    with pytest.raises(CheckpointError, match="No parameter of Linear"):
        make_checkpointer(tmp_path).load(str(path))


def test_weights_that_match_in_part_are_loaded_and_the_rest_is_logged(tmp_path, caplog):
    path = tmp_path / "weights.pth"
    torch.save({"model": {"weight": torch.full((2, 2), 7.0)}}, path)
    model = nn.Linear(2, 2)
    with caplog.at_level(logging.WARNING):
        make_checkpointer(tmp_path, model).load(str(path))
    assert (model.weight == 7).all()
    assert "bias" in caplog.text


def test_bare_weights_and_arrays_are_loaded(tmp_path):
    path = tmp_path / "weights.pkl"
    state = {"weight": np.full((2, 2), 7.0, "float32"), "bias": np.zeros(2, "float32")}
    path.write_bytes(pickle.dumps({"model": state, "__author__": "test"}))
    model = nn.Linear(2, 2)
    make_checkpointer(tmp_path, model).load(str(path))
    assert (model.weight == 7).all()


def takes_options():
    """Whether this Detectron2 is later than 0.6, and reads options after a question mark."""
    return hasattr(DetectionCheckpointer(nn.Linear(2, 2)), "_parsed_url_during_load")


@pytest.fixture
def later_detectron2(monkeypatch):
    """Detectron2 after 0.6: it marks a load under way, and leaves the mark after a failure."""
    if takes_options():
        return
    earlier_load = DetectionCheckpointer.load

    def load(self, path, *args, **kwargs):
        assert self._parsed_url_during_load is None
        self._parsed_url_during_load = urlparse(path)
        rest = earlier_load(self, path.partition("?")[0], *args, **kwargs)
        self._parsed_url_during_load = None
        return rest

    monkeypatch.setattr(DetectionCheckpointer, "_parsed_url_during_load", None, raising=False)
    monkeypatch.setattr(DetectionCheckpointer, "load", load)


@pytest.mark.usefixtures("later_detectron2")
def test_a_failed_load_does_not_hinder_the_next(tmp_path):
    checkpointer = make_checkpointer(tmp_path)
    checkpointer.save("model_0000001", iteration=1)
    bad = tmp_path / "bad.pth"
    bad.write_bytes(b"no checkpoint")
    with pytest.raises(CheckpointError, match=r"bad\.pth cannot be read"):
        checkpointer.load(str(bad))
    assert checkpointer.load(str(tmp_path / "model_0000001.pth"))["iteration"] == 1


@pytest.mark.usefixtures("later_detectron2")
def test_options_of_later_detectron2_are_left_to_it(tmp_path):
    checkpointer = make_checkpointer(tmp_path)
    checkpointer.save("model_0000001", iteration=1)
    options = "?matching_heuristics=True"
    assert checkpointer.load(f"{tmp_path / 'model_0000001.pth'}{options}")["iteration"] == 1
    with pytest.raises(FileNotFoundError, match=r"nowhere\.pth\?matching"):
        checkpointer.load(f"{tmp_path / 'nowhere.pth'}{options}")


@pytest.mark.skipif(takes_options(), reason="this Detectron2 knows the options")
def test_options_that_detectron2_does_not_know_are_an_error(tmp_path):
    checkpointer = make_checkpointer(tmp_path)
    checkpointer.save("model_0000001")
    with pytest.raises(FileNotFoundError, match=r"model_0000001\.pth\?matching_heuristics"):
        checkpointer.load(f"{tmp_path / 'model_0000001.pth'}?matching_heuristics=True")


def test_weights_start_at_iteration_zero(tmp_path):
    trained, _ = run(make_cfg(tmp_path / "a", "SOLVER.MAX_ITER", 2))
    cfg = make_cfg(
        tmp_path / "b", "SOLVER.MAX_ITER", 2, "MODEL.WEIGHTS", str(tmp_path / "a/model_final.pth")
    )
    fine_tuned, history = run(cfg)
    assert list(history) == [0, 1]
    assert not same(weights(fine_tuned), weights(trained))
