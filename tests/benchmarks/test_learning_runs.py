"""Named trainings are done once, and their table and figure show what was done."""

import json
from pathlib import Path

import cv2
import learning
import pytest

from mobileinst_core.ytvis.moving_shapes import make_moving_shapes

RUNS = """
first:
  config: a.yaml
  opts: {SOLVER.MAX_ITER: 40}
  seeds: [1, 2]
  truth: TRUTH
second:
  config: b.yaml
  opts: {}
  seeds: [1]
  start: first
  truth: TRUTH
  tests: {T3: {TEST.TRACKING.CLIP_LEN: 3}}
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("data")
    make_moving_shapes(root, num_videos=1, num_val_videos=2, num_frames=3, height=48, width=48)
    return root / "val"


@pytest.fixture
def commands(data, monkeypatch) -> list[list[str]]:
    """The commands that would be run; each leaves behind what train_net.py would."""
    calls: list[list[str]] = []
    truth = json.loads((data / "instances.json").read_text())
    results = [dict(track, score=0.9) for track in truth["annotations"]]

    def run(command, *, check, **_):
        calls.append(command[command.index("train_net.py") :])
        folder = Path(command[command.index("OUTPUT_DIR") + 1])
        (folder / "inference").mkdir(parents=True)
        (folder / "inference" / "results.json").write_text(json.dumps(results))
        (folder / "model_final.pth").touch()
        lines = [
            {"iteration": i - 1, "total_loss": 4.0 / i, "loss_cls": 1.0 / i, "time": 0.5}
            for i in (20, 40, 40)
        ]
        lines.append({"iteration": 39, "segm/AP": 100.0})
        (folder / "metrics.json").write_text("\n".join(map(json.dumps, lines)))

    monkeypatch.setattr(learning.subprocess, "run", run)
    return calls


@pytest.fixture
def runs(data, tmp_path) -> Path:
    path = tmp_path / "runs.yaml"
    path.write_text(RUNS.replace("TRUTH", str(data / "instances.json")))
    return path


def test_runs_are_done_once_and_reported(commands, runs, tmp_path, capsys):
    output = tmp_path / "out"
    arguments = ["--runs", str(runs), "--output", str(output)]
    learning.main(arguments)
    assert len(commands) == 4
    assert commands[0][1:4] == ["--resume", "--config-file", "a.yaml"]
    assert commands[0][4:8] == ["SOLVER.MAX_ITER", "40", "SEED", "1"]
    start = commands[2][commands[2].index("MODEL.WEIGHTS") + 1]
    assert start == str(output / "first" / "seed1" / "model_final.pth")
    test = commands[3]
    assert "--eval-only" in test
    # The weights of the run itself, not those that it started from.
    weights = [test[i + 1] for i, x in enumerate(test) if x == "MODEL.WEIGHTS"]
    assert weights == [str(output / "second" / "seed1" / "model_final.pth")]

    first, second, third = json.loads((output / "learning.json").read_text())
    assert first["seeds"] == [1, 2]
    assert first["iterations"] == 40
    assert first["AP"] == first["agnostic AP"] == [100.0, 100.0]
    assert first["loss_cls"] == [1 / 40, 1 / 40]
    assert (second["run"], second["test"], third["test"]) == ("second", "", "T3")
    assert cv2.imread(str(output / "learning.png")) is not None
    assert "| second, T3 " in capsys.readouterr().out

    learning.main(arguments)
    assert len(commands) == 4


def test_the_projects_runs_are_sound(repository):
    for run in learning.load_runs(learning.RUNS).values():
        assert (repository / run.config).is_file()


def test_class_agnostic_ap_ignores_the_labels(data, tmp_path):
    for name in ("coco", "instances"):
        truth = json.loads((data / f"{name}.json").read_text())
        wrong = [
            dict(entry, category_id=entry["category_id"] % 4 + 1, score=0.9)
            for entry in truth["annotations"]
        ]
        path = tmp_path / f"{name}.json"
        path.write_text(json.dumps(wrong))
        metrics = learning.average_precision(data / f"{name}.json", path)
        assert metrics["AP"] < 50
        assert metrics["agnostic AP"] == pytest.approx(100.0)
