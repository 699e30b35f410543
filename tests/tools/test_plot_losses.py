import json
import subprocess
import sys

import cv2
import numpy as np
import plot_losses
import pytest
from detectron2.utils.events import EventStorage, JSONWriter


def write_run(folder, losses, period=20, start=0):
    """What a training with these losses leaves; one that goes on appends."""
    folder.mkdir(exist_ok=True)
    writer = JSONWriter(str(folder / "metrics.json"))
    with EventStorage(start) as storage:
        for number, loss in enumerate(losses, start + 1):
            storage.put_scalars(total_loss=loss, loss_mask=loss / 2, smoothing_hint=False)
            if number % period == 0:
                writer.write()
            storage.step()
    writer.close()
    return folder


def draw(capsys, *argv):
    plot_losses.main([str(arg) for arg in argv])
    return capsys.readouterr()


def rows_of(out):
    """Cells of the table by run."""
    return {line.split()[0]: line.split()[1:] for line in out.splitlines()[3:]}


def test_the_table_has_the_means_of_both_ends(tmp_path, capsys):
    falling = write_run(tmp_path / "falling", np.linspace(4, 1, 100), period=1)
    short = write_run(tmp_path / "short", [3.0, 2.0], period=1)
    options = ("--labels", "falling", "short", "--window", 10, "--output", tmp_path / "x.png")
    out = draw(capsys, falling, short / "metrics.json", *options).out
    values = np.linspace(4, 1, 100)
    first, last = values[:10].mean(), values[-10:].mean()
    assert out.splitlines()[0] == "total_loss"
    assert rows_of(out) == {
        "falling": ["100", "100", f"{first:.4f}", f"{last:.4f}"],
        "short": ["2", "2", "2.5000", "2.5000"],
    }


def test_the_picture_shows_a_curve_of_its_own_for_each_run(tmp_path, capsys):
    runs = [write_run(tmp_path / str(i), [float(i + 1)] * 40, period=1) for i in range(2)]
    output = tmp_path / "new" / "folder" / "losses.png"
    draw(capsys, *runs, "--output", output)
    colours = {tuple(colour) for colour in cv2.imread(str(output)).reshape(-1, 3).tolist()}
    assert {(180, 119, 31), (14, 127, 255)} <= colours  # the first two of Matplotlib's, as BGR


def test_another_key(tmp_path, capsys):
    run = write_run(tmp_path / "run", [4.0] * 40)
    out = draw(capsys, run, "--key", "loss_mask", "--output", tmp_path / "x.svg").out
    assert out.splitlines()[0] == "loss_mask"
    assert rows_of(out)[str(run)] == ["2", "40", "2.0000", "2.0000"]
    assert (tmp_path / "x.svg").read_text().startswith("<?xml")


def test_lines_without_the_key_are_passed_over(tmp_path, capsys):
    run = write_run(tmp_path / "run", [4.0] * 40)
    with open(run / "metrics.json", "a") as file:
        file.write(json.dumps({"iteration": 39, "segm/AP": 12.0}) + "\n")
    captured = draw(capsys, run, "--output", tmp_path / "x.png")
    assert rows_of(captured.out)[str(run)][:2] == ["2", "40"]
    assert captured.err == ""


@pytest.mark.parametrize(
    "rest", ['{"iteration": 59, "total_lo', '{"iteration": 59, "tot\x00\x00', "7"]
)
def test_a_line_cut_off_by_a_kill_is_left_out_with_a_warning(tmp_path, capsys, rest):
    run = write_run(tmp_path / "run", [4.0] * 40)
    with open(run / "metrics.json", "a") as file:
        file.write(rest)
    captured = draw(capsys, run, "--output", tmp_path / "x.png")
    assert rows_of(captured.out)[str(run)][:2] == ["2", "40"]
    assert "metrics.json: line 3 is damaged" in captured.err


def test_a_resumed_training_is_one_curve(tmp_path):
    run = write_run(tmp_path / "run", [9.0] * 100)
    write_run(run, [1.0] * 30, start=50, period=5)
    iterations, values = plot_losses.curve_of(run, "total_loss")
    assert iterations.tolist() == [19, 39, 54, 59, 64, 69, 74, 79]
    assert values.tolist() == [9.0, 9.0] + [1.0] * 6


def test_the_moving_mean_reaches_back():
    values = np.array([1.0, 3.0, 5.0, 7.0])
    assert plot_losses.moving_mean(values, 2).tolist() == [1.0, 2.0, 4.0, 6.0]
    assert plot_losses.moving_mean(values, 9).tolist() == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["gone"], "cannot read gone: No such file"),
        (["."], "cannot read metrics.json: No such file"),
        (["run", "--key", "loss"], "run has no 'loss'; it has loss_mask, "),
        (["empty.json"], "empty.json holds no metrics"),
        (["run", "--output", "run/metrics.json/x.png"], "cannot write --output run/metrics.json/x"),
    ],
)
def test_bad_input_is_named(tmp_path, monkeypatch, argv, message):
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "run", [4.0] * 40)
    (tmp_path / "empty.json").write_text("")
    with pytest.raises(SystemExit, match=f"error: {message}"):
        plot_losses.main(["--output", "x.png", *argv])
    assert not (tmp_path / "x.png").exists()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["a", "b", "--labels", "one", "--output", "x.png"], "--labels: 1 names for 2 runs"),
        (["a", "a", "--output", "x.png"], "two runs have the same name"),
        (["a", "--window", "0", "--output", "x.png"], "--window is 0"),
        (["a", "--output", "x.txt"], "--output x.txt: no kind of picture"),
        (["a", "--output", "folder"], "--output folder: no kind of picture"),
        (["a"], "required: --output"),
    ],
)
def test_contradictory_arguments_are_named(capsys, argv, message):
    with pytest.raises(SystemExit) as caught:
        plot_losses.parse_args(argv)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_it_is_a_command(repository, tmp_path):
    run = write_run(tmp_path / "run", [4.0] * 40)
    script = [sys.executable, str(repository / "tools" / "plot_losses.py"), str(run)]
    output = tmp_path / "x.png"
    done = subprocess.run(
        [*script, "--output", str(output)], capture_output=True, text=True, check=True
    )
    assert "4.0000" in done.stdout
    assert output.stat().st_size > 1000
