"""A schedule in epochs becomes the same in iterations; numbers that steer nothing are named."""

import logging

import pytest
import yaml
from toy_training import ToyTrainer, make_cfg, run, same, weights

from mobileinst_core.errors import ConfigError
from mobileinst_d2.engine import setup_cfg
from mobileinst_d2.engine.schedule import resolve_epochs

# 12 records, 4 per iteration: 3 iterations per epoch.
EPOCHS = ("SOLVER.EPOCHS", 4.0, "SOLVER.EPOCH_STEPS", (2, 3))


class Loader:
    """Stands for a loader that knows its frames."""

    def __init__(self, frames_per_epoch: int, frames_per_sample: int) -> None:
        self.frames_per_epoch = frames_per_epoch
        self.frames_per_sample = frames_per_sample


def schedule(cfg):
    return cfg.SOLVER.MAX_ITER, tuple(cfg.SOLVER.STEPS)


def test_twelve_epochs_of_youtube_vis_2019_are_crossvis_schedule(tmp_path):
    cfg = make_cfg(tmp_path, "SOLVER.IMS_PER_BATCH", 16)
    cfg.merge_from_list(["SOLVER.EPOCHS", 12.0, "SOLVER.EPOCH_STEPS", (8, 11)])
    max_iter, steps = schedule(resolve_epochs(cfg, Loader(61845, 2)))
    assert (max_iter, steps) == (23192, (15461, 21259))
    # In round numbers 23,000 iterations, with steps at 15,000 and 21,000.
    for value, published in zip((max_iter, *steps), (23000, 15000, 21000), strict=True):
        assert value == pytest.approx(published, rel=0.035)


def test_zero_epochs_leave_the_iterations_as_they_are(tmp_path):
    cfg = make_cfg(tmp_path, "SOLVER.EPOCH_STEPS", (8, 11))
    assert resolve_epochs(cfg, [[]]) is cfg
    assert schedule(ToyTrainer(cfg).cfg) == (12, (9,))


def test_epochs_take_the_place_of_iterations(tmp_path, caplog):
    with caplog.at_level(logging.INFO, "mobileinst_d2"):
        epochs, history = run(make_cfg(tmp_path / "epochs", *EPOCHS, "SOLVER.MAX_ITER", 99))
    given = make_cfg(tmp_path / "given", "SOLVER.MAX_ITER", 12, "SOLVER.STEPS", (6, 9))
    iterations, expected = run(given)
    assert schedule(epochs.cfg) == (12, (6, 9))
    assert history == expected  # losses and learning rates, warm-up included
    assert same(weights(epochs), weights(iterations))
    words = "EPOCHS 4: 12 frames per epoch and 4 per iteration give SOLVER.MAX_ITER 12 and SOLVER."
    assert words in caplog.text
    assert "STEPS (6, 9)" in caplog.text


def test_the_iterations_stand_in_the_saved_config(tmp_path):
    cfg = make_cfg(tmp_path, *EPOCHS)
    cfg.freeze()
    trainer = ToyTrainer(cfg)
    path = tmp_path / "config.yaml"
    saved = yaml.safe_load(path.read_text())["SOLVER"]
    assert (saved["EPOCHS"], saved["MAX_ITER"], list(saved["STEPS"])) == (4.0, 12, [6, 9])
    assert schedule(ToyTrainer(setup_cfg(path)).cfg) == schedule(trainer.cfg)
    assert schedule(cfg) == (12, (9,))  # the caller's own stays as it is


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("SOLVER.EPOCHS", -1.0), r"SOLVER\.EPOCHS is -1"),
        (("SOLVER.EPOCH_STEPS", (3, 2)), r"EPOCH_STEPS is \[3, 2\].* must ascend"),
        (("SOLVER.EPOCH_STEPS", (2, 2)), r"EPOCH_STEPS is \[2, 2\].* must ascend"),
        (("SOLVER.EPOCH_STEPS", (0, 2)), r"EPOCH_STEPS is \[0, 2\].* above 0"),
        (("SOLVER.EPOCH_STEPS", (2, 4)), r"EPOCH_STEPS is \[2, 4\].* below SOLVER\.EPOCHS \(4\)"),
        (("SOLVER.EPOCH_STEPS", (2, 5)), r"EPOCH_STEPS is \[2, 5\].* below SOLVER\.EPOCHS \(4\)"),
        (("SOLVER.IMS_PER_BATCH", 36), r"EPOCHS 4 .*12 frames, 36 per .*only 0\.333 iterations"),
        (("SOLVER.EPOCHS", 0.1, "SOLVER.EPOCH_STEPS", ()), r"EPOCHS 0\.1 .*only 3 iterations"),
    ],
)
def test_impossible_schedules_are_named(tmp_path, opts, message):
    cfg = make_cfg(tmp_path, *EPOCHS, *opts)
    with pytest.raises(ValueError, match=message):
        resolve_epochs(cfg, Loader(12, 1))
    assert not (tmp_path / "config.yaml").exists()


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("SOLVER.MAX_ITER", 0), r"MAX_ITER is 0: choose a number above 0"),
        (("SOLVER.CHECKPOINT_PERIOD", -1), r"CHECKPOINT_PERIOD is -1: choose a number above 0"),
        (("SOLVER.BACKBONE_MULTIPLIER", -0.1), r"BACKBONE_MULTIPLIER is -0\.1: choose 0 or more"),
        (("TEST.EVAL_PERIOD", -1), r"EVAL_PERIOD is -1: choose 0 or more"),
        (("SOLVER.STEPS", (6, 3)), r"SOLVER\.STEPS is \(6, 3\): .* must ascend, above 0"),
        (("SOLVER.REFERENCE_WORLD_SIZE", 3), r"IMS_PER_BATCH \(4\) must be a multiple of it"),
        (
            ("SOLVER.CLIP_GRADIENTS.ENABLED", True, "SOLVER.CLIP_GRADIENTS.CLIP_VALUE", 0.0),
            r"CLIP_VALUE is 0\.0: choose a number above 0",
        ),
        (("SOLVER.LR_SCHEDULER_NAME", "Poly"), r"LR_SCHEDULER_NAME 'Poly' .* no schedule of Det"),
        (("SOLVER.WARMUP_METHOD", "slow"), r"WARMUP_METHOD 'slow' .* no schedule of Detectron2"),
    ],
)
def test_numbers_that_steer_nothing_are_named(tmp_path, opts, message):
    with pytest.raises(ConfigError, match=message):
        ToyTrainer(make_cfg(tmp_path, *opts))
