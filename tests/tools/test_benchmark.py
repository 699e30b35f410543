import json

import benchmark
import pytest
from tiny_models import tiny_config

from mobileinst_d2.benchmark import candidates, latency
from mobileinst_d2.benchmark.graphs import PreparedGraph, Timing
from mobileinst_d2.benchmark.isolation import WorkerError
from mobileinst_d2.benchmark.stages import LiveStages


def fake_worker(function, *args, core, timeout):
    """What the workers answer, in the order of seconds that the runtimes are usually in."""
    assert timeout > 0
    if function is latency.measure_peak:
        return {"3x3 convolution": 50.0}
    if function is latency.count_candidate:
        return 10**9, 10**6
    if function is latency.prepare_candidate:
        candidate, size, runtime, folder = args
        if candidate.name == "yolo11n-seg":
            # The real message, as it comes through a worker.
            try:
                candidate.build(size, runtime)
            except ModuleNotFoundError as error:
                raise WorkerError(f"ModuleNotFoundError: {error}") from error
        return PreparedGraph(folder, {}, "")
    if function is latency.time_graph:
        runtime = args[1]
        return Timing([{"pytorch": 0.2, "onnx": 0.1}[runtime]], [0.3], 0.0)
    if function is benchmark.time_stages:
        return {"post-processing, 20 masks": Timing([0.01], [0.01])}
    assert function is benchmark.measure_live_stages
    if args[1] == 3:
        raise WorkerError("no graph 'reuse'")
    return LiveStages(0.001, 0.09, 0.002, 0.007, 3.0)


@pytest.fixture
def command(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "run_in_worker", fake_worker)
    config = tmp_path / "tiny.yaml"
    config.write_text(tiny_config().dump())
    files = "--output", str(tmp_path / "new" / "r.json"), "--markdown", str(tmp_path / "new/t.md")
    small = "--size", "64", "128", "--runtime", "pytorch", "onnx", "--rounds", "2"
    return ["--config-file", str(config), *small, *files]


def read(tmp_path):
    numbers = json.loads((tmp_path / "new" / "r.json").read_text(encoding="utf-8"))
    return numbers, (tmp_path / "new" / "t.md").read_text(encoding="utf-8")


def test_json_and_markdown_hold_what_was_measured(command, tmp_path, capsys):
    assert benchmark.main([*command, "--cpu", "0"]) == 0
    numbers, markdown = read(tmp_path)
    assert numbers["core"] == 0
    assert numbers["comparison"]["reference"] == "tiny"
    assert [x["median_cpu_seconds"] for x in numbers["comparison"]["rows"][0]["cells"]] == [
        0.2,
        0.1,
    ]
    for text in (
        "    python tools/benchmark.py --config-file",
        "pinned to core 0",
        numbers["machine"],
        "input 1x3x64x128",
        "50 GFLOP/s as measured (3x3 convolution)",
    ):
        assert text in markdown
    assert "| tiny" in markdown
    assert capsys.readouterr().out.strip() == markdown.strip()


def test_a_model_whose_package_is_missing_is_a_row_of_dashes(command, tmp_path, monkeypatch):
    monkeypatch.setattr(candidates.importlib.util, "find_spec", lambda name: None)
    assert benchmark.main([*command, "--package", "yolo11n-seg", "--reference", "tiny"]) == 0
    _, markdown = read(tmp_path)
    rows = [line for line in markdown.splitlines() if line.startswith("| yolo11n-seg")]
    assert [row.count("–") for row in rows] == [2, 4]
    assert "pip install --no-deps ultralytics" in markdown


def test_parts_and_live_tracking_have_their_tables(command, tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark, "read_manifest", lambda folder: None)
    assert benchmark.main([*command, "--breakdown", "--live", "exported"]) == 0
    numbers, markdown = read(tmp_path)
    assert "comparison" not in numbers  # the breakdown has the whole model too
    for part in ("backbone", "mask decoder", "instance decoder", "mask product"):
        assert f"| {part}" in markdown
    post = next(x for x in markdown.splitlines() if x.startswith("| post-processing, 20 masks"))
    assert [x.strip() for x in post.split("|")[3:-1]] == [
        "5.0%",
        "10.0 ± 0 %",
        "10.0%",
        "10.0 ± 0 %",
    ]
    assert len(numbers["parts of tiny"]["rows"]) == 5
    first, third = numbers["live"]
    assert first["share_after_network"] == pytest.approx(0.09)
    assert len(first["cpu_seconds_per_frame"]) == 2
    assert (third["clip_len"], third["failure"]) == (3, "no graph 'reuse'")
    assert "exported, T = 3 failed: no graph 'reuse'" in markdown
    assert "9.0 %" in markdown


def test_a_run_goes_on_without_the_peak_and_without_what_follows_the_network(
    command, tmp_path, monkeypatch
):
    def run(function, *args, **kwargs):
        if function in (latency.measure_peak, benchmark.time_stages):
            raise WorkerError("no memory")
        return fake_worker(function, *args, **kwargs)

    monkeypatch.setattr(benchmark, "run_in_worker", run)
    assert benchmark.main(command) == 0
    assert "peak, which could not be measured" in read(tmp_path)[1]
    assert benchmark.main([*command, "--breakdown"]) == 0
    assert "| mask product" in read(tmp_path)[1]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config-file", "missing.yaml"], r"error: .*missing\.yaml"),
        (["--package", "resnet50"], "error: there is no package model resnet50"),
        (["--exported", "missing"], "error: .*missing"),
        (["--live", "missing"], "error: .*missing"),
        (["--reference", "other"], "error: the reference 'other' is no row; the rows are tiny"),
        (["--output", "FILE/r.json"], "error: .*FILE"),
    ],
)
def test_mistakes_are_known_before_anything_runs(
    arguments, message, command, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "FILE").touch()
    monkeypatch.setattr(benchmark, "run_in_worker", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(SystemExit, match=message):
        benchmark.main([*command, *arguments])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name models with"),
        (["--rounds", "0"], "--rounds"),
        (["--runtime", "tnn"], "invalid choice: 'tnn'"),
        (["--package", "yolo11n-seg", "--breakdown"], "--breakdown is of models of --config-file"),
        (["--package", "yolo11n-seg", "--video", "clip.mp4"], "--video is for --live"),
        (["--package", "yolo11n-seg", "--cpu", "9999"], "--cpu 9999: the cores that can be used"),
    ],
)
def test_the_command_line_is_checked(arguments, message, capsys, monkeypatch):
    monkeypatch.setattr(benchmark, "run_in_worker", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(SystemExit):
        benchmark.main(arguments)
    assert message in capsys.readouterr().err
