"""A training survives interruptions unchanged, and evaluates each data set its own way."""

import json
import logging
from pathlib import Path

import pytest
import torch
from detectron2.evaluation import DatasetEvaluator
from toy_training import DATASET, ToyTrainer, make_cfg, run, same, weights

from mobileinst_core.errors import UserError
from mobileinst_d2.checkpoint import CheckpointError
from mobileinst_d2.engine import trainer as trainer_module


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    return run(make_cfg(tmp_path_factory.mktemp("straight")))


@pytest.mark.parametrize("interrupt_at", [3, 6, 10])
def test_a_resumed_training_takes_the_same_course(tmp_path, straight, interrupt_at):
    trainer, history = straight
    run(make_cfg(tmp_path), interrupt_at=interrupt_at)
    resumed, resumed_history = run(make_cfg(tmp_path), resume=True)
    assert min(resumed_history) == interrupt_at - interrupt_at % 4 + (4 if interrupt_at == 3 else 0)
    assert resumed_history == {i: history[i] for i in resumed_history}
    assert same(weights(resumed), weights(trainer))


def test_worker_processes_change_nothing(tmp_path, straight):
    cfg = make_cfg(tmp_path, "DATALOADER.NUM_WORKERS", 2)
    run(cfg, interrupt_at=5)
    resumed, _ = run(cfg, resume=True)
    assert same(weights(resumed), weights(straight[0]))


def test_without_a_seed_the_drawn_one_is_kept(tmp_path):
    first, history = run(make_cfg(tmp_path, "SEED", -1))
    Path(tmp_path, "last_checkpoint").write_text("model_0000003.pth")
    resumed, resumed_history = run(make_cfg(tmp_path, "SEED", -1), resume=True)
    assert resumed.seed == first.seed
    assert resumed_history == {i: history[i] for i in range(4, 12)}


def test_the_seed_decides_the_course(tmp_path, straight):
    _, history = run(make_cfg(tmp_path, "SEED", 8))
    assert history != straight[1]


def test_evaluation_in_between_does_not_change_the_course(tmp_path, straight, monkeypatch):
    def draw_numbers(cls, cfg, model, evaluators=None):
        torch.rand(3)
        return {}

    monkeypatch.setattr(ToyTrainer, "test", classmethod(draw_numbers))
    trainer, _ = run(make_cfg(tmp_path, "TEST.EVAL_PERIOD", 2))
    assert same(weights(trainer), weights(straight[0]))


def test_resuming_a_finished_training_does_nothing_and_says_so(
    tmp_path, straight, caplog, monkeypatch
):
    run(make_cfg(tmp_path))
    monkeypatch.setattr(ToyTrainer, "test", classmethod(lambda *_: pytest.fail("evaluated")))
    with caplog.at_level(logging.INFO):
        resumed, history = run(make_cfg(tmp_path), resume=True)
    assert history == {}
    assert "nothing to do: the training in" in caplog.text
    assert "12 iterations of 12" in caplog.text
    assert same(weights(resumed), weights(straight[0]))


def test_a_second_training_in_a_folder_warns(tmp_path, caplog):
    run(make_cfg(tmp_path))
    assert "holds a training already" not in caplog.text
    _, history = run(make_cfg(tmp_path))
    assert min(history) == 0
    assert f"{tmp_path} holds a training already, up to model_final.pth" in caplog.text


@pytest.mark.parametrize("failing", [6, 8])
def test_a_failing_evaluation_loses_nothing(tmp_path, straight, monkeypatch, failing):
    """Checkpoints are due after 4, 8 and 12 iterations, evaluations after 2, 4, 6, ..."""

    def fail(cls, cfg, model, evaluators=None):
        calls.append(None)
        if 2 * len(calls) == failing:
            raise KeyError("area")
        return {}

    calls = []
    monkeypatch.setattr(ToyTrainer, "test", classmethod(fail))
    opts = ("TEST.EVAL_PERIOD", 2)
    with pytest.raises(KeyError, match="area"):
        run(make_cfg(tmp_path, *opts))
    resumed, history = run(make_cfg(tmp_path, *opts), resume=True)
    assert min(history) == failing
    assert same(weights(resumed), weights(straight[0]))
    # Others serve where they are due, and the file goes with the end.
    assert {path.name for path in tmp_path.glob("*.pth")} == {
        "model_0000003.pth",
        "model_0000007.pth",
        "model_0000011.pth",
        "model_final.pth",
    }


def test_an_interrupted_evaluation_is_repeated(tmp_path, monkeypatch):
    """One that was finished is not; the numbers belong to the step before the interruption."""
    seen = []

    class Measure(DatasetEvaluator):
        def __init__(self, folder):
            self.folder = Path(folder).name

        def evaluate(self):
            seen.append(self.folder)
            if fails:
                raise KeyError("area")
            return {"segm": {"AP": [0.0, 0.0, 3.0, 4.0, 2.0][len(seen) - 1]}}

    build = classmethod(lambda cls, cfg, name, folder=None: Measure(folder))
    monkeypatch.setattr(ToyTrainer, "build_evaluator", build)
    monkeypatch.setattr(ToyTrainer, "build_test_loader", classmethod(lambda *_: [[]]))
    monkeypatch.setattr(ToyTrainer, "build_predictor", classmethod(lambda *_: lambda batch: []))
    monkeypatch.setattr(trainer_module, "check_test_data", lambda cfg: None)
    opts = ("TEST.EVAL_PERIOD", 6, "TEST.BEST_METRIC", "segm/AP", "DATASETS.TEST", (DATASET,))
    fails = True
    with pytest.raises(KeyError, match="area"):
        run(make_cfg(tmp_path, *opts))
    with pytest.raises(KeyError, match="area"):
        run(make_cfg(tmp_path, *opts), resume=True)
    fails = False
    _, history = run(make_cfg(tmp_path, *opts), resume=True)
    assert min(history) == 6
    assert seen == ["iteration_0000006"] * 3 + ["inference"]
    best = torch.load(tmp_path / "model_best.pth")
    assert (best["iteration"], best["metric"]) == (11, 4.0)
    lines = (tmp_path / "metrics.json").read_text().splitlines()
    rows = [row for row in map(json.loads, lines) if "segm/AP" in row]
    assert [(row["iteration"], row["segm/AP"]) for row in rows] == [(5, 3.0), (12, 4.0)]
    _, history = run(make_cfg(tmp_path, *opts, "SOLVER.MAX_ITER", 14), resume=True)
    assert list(history) == [12, 13]
    assert len(seen) == 5  # the one at the end
    assert torch.load(tmp_path / "model_best.pth")["metric"] == 4.0


def test_resume_without_checkpoint_starts_anew_and_says_so(tmp_path, straight, caplog):
    _, history = run(make_cfg(tmp_path), resume=True)
    assert history == straight[1]
    assert "nothing to resume" in caplog.text


@pytest.mark.parametrize("has_optimizer", [False, True])
def test_checkpoints_of_detectron2s_trainer_can_be_resumed(tmp_path, caplog, has_optimizer):
    """Of release 0.6, which keeps no state of the optimizer, and of the source after it."""
    run(make_cfg(tmp_path, "SOLVER.MAX_ITER", 6))
    content = torch.load(tmp_path / "model_final.pth")
    kept = ("iteration", "hooks", *["_trainer"] * has_optimizer)
    content["trainer"] = {key: content["trainer"][key] for key in kept}
    torch.save(content, tmp_path / "model_final.pth")
    resumed, history = run(make_cfg(tmp_path), resume=True)
    assert list(history) == list(range(6, 12))
    assert ("no state of the optimizer" in caplog.text) is not has_optimizer
    steps = {int(state["step"]) for state in resumed.optimizer.state.values()}
    assert steps == {12 if has_optimizer else 6}


def test_full_precision_can_go_on_from_mixed(tmp_path, caplog):
    """And the other way round, where the scaler starts fresh with a warning."""
    trainer, _ = run(make_cfg(tmp_path), interrupt_at=8)
    state = trainer.state_dict()
    state["_trainer"]["grad_scaler"] = torch.amp.GradScaler("cpu", init_scale=32.0).state_dict()
    trainer.load_state_dict(state)
    trainer._trainer.grad_scaler = torch.amp.GradScaler("cpu")
    trainer.load_state_dict(state)
    assert "no state of the" not in caplog.text
    assert trainer._trainer.grad_scaler.get_scale() == 32.0
    del state["_trainer"]["grad_scaler"]
    trainer.load_state_dict(state)
    assert "no state of the grad_scaler" in caplog.text


def test_an_optimizer_of_another_model_is_refused(tmp_path):
    run(make_cfg(tmp_path), interrupt_at=8)
    with pytest.raises(CheckpointError, match="optimizer does not fit") as caught:
        run(make_cfg(tmp_path, "SOLVER.BACKBONE_MULTIPLIER", 1.0), resume=True)
    assert "newest good" not in str(caught.value)


def test_a_loader_that_cannot_resume_is_announced(tmp_path, caplog, monkeypatch):
    batch = [{"image": torch.rand(3, 8, 8)}] * 4
    monkeypatch.setattr(ToyTrainer, "build_train_loader", classmethod(lambda cls, cfg: [batch] * 9))
    run(make_cfg(tmp_path, "SOLVER.MAX_ITER", 4))
    assert "starts from the beginning" not in caplog.text
    run(make_cfg(tmp_path, "SOLVER.MAX_ITER", 6), resume=True)
    assert "starts from the beginning" in caplog.text


@pytest.mark.parametrize(
    ("kind", "message"),
    [("nan", "loss_second=nan"), ("gradient", r"gradient of backbone\.0\.weight, ")],
)
def test_non_finite_values_stop_before_the_update(tmp_path, kind, message):
    cfg = make_cfg(tmp_path, "SOLVER.CHECKPOINT_PERIOD", 5)
    with pytest.raises(FloatingPointError, match=f"iteration 5, not finite: {message}") as caught:
        run(cfg, fault=(kind, 5))
    assert isinstance(caught.value, UserError)  # one line at the end, no traceback
    assert sorted(p.name for p in tmp_path.glob("*.pth")) == ["model_0000004.pth"]
    # The last good checkpoint is the state just before: a second try finishes the training.
    resumed, history = run(cfg, resume=True)
    assert min(history) == 5
    assert all(value.isfinite().all() for value in weights(resumed).values())


def test_a_failed_last_iteration_is_not_evaluated(tmp_path, monkeypatch):
    monkeypatch.setattr(ToyTrainer, "test", classmethod(lambda *_: pytest.fail("evaluated")))
    with pytest.raises(FloatingPointError):
        run(make_cfg(tmp_path), fault=("nan", 11))


def test_folded_batch_norms_are_refitted_once(tmp_path, caplog):
    caplog.set_level("INFO")
    folded = ToyTrainer(make_cfg(tmp_path / "start")).model
    with torch.no_grad():
        folded.backbone[1].bias.fill_(0.5)
    torch.save({"model": folded.state_dict()}, tmp_path / "folded.pth")
    cfg = make_cfg(tmp_path, "MODEL.WEIGHTS", str(tmp_path / "folded.pth"))
    caplog.clear()
    trainer, _ = run(cfg, interrupt_at=5)
    assert "1 batch norms have their statistics folded" in caplog.text
    # A deviation far from 1, which the layer's weight makes up for.
    norm = trainer.model.backbone[1]
    torch.testing.assert_close(norm.weight, norm.running_var.sqrt(), rtol=0.2, atol=0.05)

    caplog.clear()
    run(cfg, resume=True)
    run(make_cfg(tmp_path / "new"))
    assert "folded into" not in caplog.text
