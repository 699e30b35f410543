import json

import pytest

from mobileinst_d2.benchmark import graphs, latency, peak, table
from mobileinst_d2.benchmark.candidates import PackageCandidate
from mobileinst_d2.benchmark.graphs import PreparedGraph, Timing
from mobileinst_d2.benchmark.isolation import WorkerError
from mobileinst_d2.benchmark.latency import Comparison, TimedRounds

SECONDS = {("slow", "pytorch"): 0.4, ("slow", "onnx"): 0.2, ("fast", "pytorch"): 0.1}


class FakeWorkers:
    """Answers at once what workers would; "fast" has no ONNX form."""

    def __init__(self):
        self.timed = []
        self.crash_in_round = None

    def __call__(self, function, *args):
        if function is peak.measure_peak:
            return {"product": 90.0, "convolution": 100.0 - len(self.timed)}
        if function is graphs.count_candidate:
            if args[0].name == "uncounted":
                raise WorkerError("no rule")
            return 10**9, 2 * 10**6
        if function is graphs.prepare_candidate:
            candidate, _, runtime, folder = args
            assert folder.is_dir()
            if (candidate.name, runtime) == ("fast", "onnx"):
                raise WorkerError(f"cannot write {folder}/model.onnx")
            return PreparedGraph((candidate.name, runtime), {}, f"form of {candidate.name}")
        prepared, runtime, warm_ups, repeats = args
        assert function is graphs.time_graph
        assert (warm_ups, repeats) == (1, 3)
        key = prepared.folder
        assert key[1] == runtime
        self.timed.append(key)
        number = self.timed.count(key)
        if self.crash_in_round == number and key == ("slow", "onnx"):
            raise WorkerError("the process crashed (SIGSEGV)")
        seconds = SECONDS.get(key, 1.0) * (1 + 0.1 * (number - 1))
        return Timing([2 * seconds, seconds, 3 * seconds], [4 * seconds] * 3, 1e-6)


@pytest.fixture
def workers():
    return FakeWorkers()


@pytest.fixture
def comparison(workers, tmp_path):
    return make(workers, tmp_path, "slow", "fast")


def make(workers, folder, *names, **options):
    candidates = [PackageCandidate(name) for name in names]
    options = {"warm_ups": 1, "repeats": 3, **options}
    return Comparison(candidates, ["pytorch", "onnx"], (64, 96), folder, workers, **options)


def run(comparison, rounds):
    comparison.prepare()
    for _ in range(rounds):
        comparison.run_round()


def test_models_and_runtimes_take_turns(comparison, workers):
    run(comparison, 3)
    turn = [("slow", "pytorch"), ("slow", "onnx"), ("fast", "pytorch")]
    assert workers.timed == 3 * turn


def test_a_time_is_the_median_over_rounds_of_the_fastest_call(comparison):
    run(comparison, 3)
    cell = comparison.rows[0].cell("pytorch")
    assert cell.cpu == pytest.approx([0.4, 0.44, 0.48])
    assert cell.wall == pytest.approx([1.6, 1.76, 1.92])
    assert cell.seconds == pytest.approx(0.44)
    assert cell.spread == pytest.approx(0.04 / 0.44)


def test_ratios_are_to_the_reference_in_the_same_runtime(workers, tmp_path):
    comparison = make(workers, tmp_path, "fast", "slow", reference="slow")
    run(comparison, 1)
    fast, slow = comparison.rows
    assert comparison.ratio(fast, "pytorch") == pytest.approx(0.25)
    assert comparison.ratio(slow, "onnx") == 1.0
    assert comparison.ratio(fast, "onnx") is None


def test_a_reference_that_failed_gives_no_ratios(workers, tmp_path):
    comparison = make(workers, tmp_path, "fast", "slow")
    run(comparison, 1)
    assert comparison.reference == "fast"
    assert comparison.ratio(comparison.rows[1], "onnx") is None
    assert comparison.rows[1].cell("onnx").seconds == pytest.approx(0.2)


def test_the_fraction_of_the_peak_counts_multiplications_and_additions(comparison):
    run(comparison, 2)
    # The highest of all rounds: 100 before anything was timed.
    assert comparison.peak == {"product": 90.0, "convolution": 100.0}
    assert comparison.highest_peak == 1e11
    fraction = comparison.fraction_of_peak(comparison.rows[1], "pytorch")
    assert fraction == pytest.approx(2e9 / 0.105 / 1e11)


def test_what_failed_is_a_dash_with_its_reason_and_the_others_go_on(comparison, workers, tmp_path):
    workers.crash_in_round = 2
    run(comparison, 3)
    slow, fast = comparison.rows
    assert workers.timed.count(("slow", "onnx")) == 2
    assert slow.cell("onnx").seconds is None
    assert fast.cell("pytorch").seconds is not None
    notes = comparison.notes()
    assert "slow (onnx): failed: the process crashed (SIGSEGV)" in notes
    # Without the folder, which is gone when the note is read.
    assert "fast (onnx): failed: cannot write 2-onnx/model.onnx" in notes
    assert str(tmp_path) not in str(notes)
    lines = table.milliseconds_table(comparison).splitlines()
    assert [cell.strip() for cell in lines[-1].split("|")[-3:-1]] == ["–", "–"]


def test_a_model_that_cannot_be_counted_is_timed(workers, tmp_path):
    comparison = make(workers, tmp_path, "uncounted")
    run(comparison, 1)
    row = comparison.rows[0]
    assert row.macs is None
    assert comparison.fraction_of_peak(row, "onnx") is None
    assert comparison.ratio(row, "onnx") == 1.0
    assert "uncounted: not counted: no rule" in comparison.notes()


def test_notes_stand_once_with_all_places_where_they_hold(comparison):
    run(comparison, 1)
    assert "slow (pytorch, onnx): form of slow" in comparison.notes()


def test_large_differences_to_pytorch_are_mentioned(comparison):
    run(comparison, 1)
    assert "differ" not in str(comparison.notes())
    for difference in (0.5, float("nan")):
        comparison.rows[0].cell("onnx").difference = difference
        assert f"slow (onnx): outputs differ from PyTorch's by up to {difference:.1g}" in str(
            comparison.notes()
        )


def test_numbers_can_be_written_at_any_time(comparison):
    json.dumps(table.comparison_numbers(comparison))
    run(comparison, 2)
    numbers = json.loads(json.dumps(table.comparison_numbers(comparison)))
    cell = numbers["rows"][0]["cells"][1]
    assert cell["cpu_seconds"] == pytest.approx([0.2, 0.22])
    assert cell["median_cpu_seconds"] == pytest.approx(0.21)
    assert numbers["rows"][1]["cells"][1]["failure"].startswith("cannot write")


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        ((), {}, "no model"),
        (("a", "b", "a"), {}, "two rows have the name a"),
        (("a", "b"), {"reference": "c"}, "'c' is no row; the rows are a, b"),
    ],
)
def test_what_cannot_be_compared_is_refused(names, options, message, workers, tmp_path):
    with pytest.raises(ValueError, match=message):
        make(workers, tmp_path, *names, **options)


def test_rounds_without_a_time_have_no_median():
    assert TimedRounds().seconds is None
    assert TimedRounds().spread is None
    assert latency.TimedRounds([1.0], [1.0], failure="x").seconds is None


def test_tables_name_ratios_and_milliseconds(comparison):
    run(comparison, 1)
    ratios, times = table.ratio_table(comparison), table.milliseconds_table(comparison)
    cells = [x.strip() for x in ratios.splitlines()[2].split("|")]
    assert cells[1:-1] == ["slow", "1.00", "2.00", "1.00", "1.00"]
    cells = [x.strip() for x in times.splitlines()[3].split("|")]
    assert cells[1:-1] == ["fast", "100 ± 0 %", "20%", "–", "–"]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0001234, "0.12"), (0.001234, "1.23"), (0.01234, "12.3"), (0.1234, "123"), (1.234, "1234")],
)
def test_milliseconds_have_three_digits(seconds, text):
    assert table.milliseconds(TimedRounds([seconds], [seconds])) == f"{text} ± 0 %"
