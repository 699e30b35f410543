"""The best weights are kept, also over interruptions, and a training that gets no better ends."""

from collections import OrderedDict

import pytest
import torch
from toy_training import ToyTrainer, make_cfg, run, weights

from mobileinst_core.errors import ConfigError

OPTS = ("TEST.EVAL_PERIOD", 2, "TEST.BEST_METRIC", "segm/AP", "SOLVER.CHECKPOINT_PERIOD", 2)
DATASET = ("DATASETS.TEST", ("toy_engine_train",))


@pytest.fixture
def scores(monkeypatch):
    """What evaluations find, by the iterations that were trained before; weights are kept."""
    values, seen = {}, {}

    def test(cls, cfg, model, evaluators=None):
        done = cls.current.iter + (cls.current.iter < cls.current.max_iter)
        seen[done] = {k: v.clone() for k, v in model.state_dict().items()}
        return OrderedDict(segm={"AP": values.get(done, 1.0)})

    def build_hooks(self):
        ToyTrainer.current = self
        return super(ToyTrainer, self).build_hooks()

    monkeypatch.setattr(ToyTrainer, "test", classmethod(test))
    monkeypatch.setattr(ToyTrainer, "build_hooks", build_hooks)
    monkeypatch.setattr(ToyTrainer, "build_evaluator", classmethod(lambda *_: None))
    values["seen"] = seen
    return values


def best(tmp_path):
    return torch.load(tmp_path / "model_best.pth")


def test_the_best_weights_are_kept_without_the_optimizer(tmp_path, scores):
    scores.update({4: 30.0, 8: 20.0, 10: float("nan")})
    run(make_cfg(tmp_path, *OPTS, *DATASET))
    kept = best(tmp_path)
    assert (kept["iteration"], kept["metric"]) == (3, 30.0)
    assert kept.keys() == {"model", "iteration", "metric", "metric_name"}
    seen = scores["seen"][4]
    assert all(torch.equal(kept["model"][name], value) for name, value in seen.items())
    assert (tmp_path / "last_checkpoint").read_text() == "model_final.pth"


@pytest.mark.parametrize("interrupt_at", [4, 5])
def test_a_resumed_training_knows_the_best_so_far(tmp_path, scores, interrupt_at):
    scores.update({2: 30.0, 8: 20.0})
    run(make_cfg(tmp_path, *OPTS, *DATASET), interrupt_at=interrupt_at)
    run(make_cfg(tmp_path, *OPTS, *DATASET), resume=True)
    assert best(tmp_path)["iteration"] == 1


def test_a_new_training_in_the_folder_forgets_the_best(tmp_path, scores):
    scores.update({2: 30.0})
    run(make_cfg(tmp_path, *OPTS, *DATASET))
    scores.update({2: 10.0, 6: 20.0})
    run(make_cfg(tmp_path, *OPTS, *DATASET))
    assert best(tmp_path)["metric"] == 20.0


def test_a_training_that_gets_no_better_ends_and_stays_ended(tmp_path, scores, caplog):
    caplog.set_level("INFO")
    scores.update({2: 30.0})
    opts = (*OPTS, *DATASET, "TEST.EARLY_STOPPING", 2)
    _, history = run(make_cfg(tmp_path, *opts))
    assert max(history) == 4  # the hook that records it comes after the end
    assert "ends at iteration 5 of 12: 2 evaluations" in caplog.text
    final = torch.load(tmp_path / "model_final.pth")
    assert final["iteration"] == 5
    assert "Exception" not in caplog.text
    _, history = run(make_cfg(tmp_path, *opts), resume=True)
    assert history == {}
    assert torch.load(tmp_path / "model_final.pth")["iteration"] == 5
    _, history = run(make_cfg(tmp_path, *OPTS, *DATASET, "TEST.EARLY_STOPPING", 0), resume=True)
    assert sorted(history) == list(range(6, 12))


def test_a_training_that_finds_nothing_goes_on_and_keeps_the_last_weights(tmp_path, scores, caplog):
    scores.update(dict.fromkeys(range(2, 13, 2), 0.0))
    trainer, history = run(make_cfg(tmp_path, *OPTS, *DATASET, "TEST.EARLY_STOPPING", 2))
    assert max(history) == 11
    assert all(torch.equal(best(tmp_path)["model"][k], v) for k, v in weights(trainer).items())
    assert "No evaluation found anything" in caplog.text


def test_a_metric_that_is_not_there_is_named(tmp_path, scores, caplog):
    run(make_cfg(tmp_path, *OPTS, *DATASET, "TEST.BEST_METRIC", "bbox/AP"))
    assert "'bbox/AP' is not among the metrics of the evaluation: segm/AP" in caplog.text
    assert not (tmp_path / "model_best.pth").exists()


def test_stopping_needs_something_to_stop_by(tmp_path):
    with pytest.raises(ConfigError, match=r"set TEST\.BEST_METRIC, DATASETS\.TEST, or"):
        ToyTrainer(make_cfg(tmp_path, "TEST.EVAL_PERIOD", 2, "TEST.EARLY_STOPPING", 2))
