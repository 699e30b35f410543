import pytest
from latency_live import measure_live_stages
from latency_models import ConfigCandidate, ExportedCandidate
from latency_rounds import Comparison
from latency_work import PreparedGraph, prepare_candidate, time_graph
from small_network import SIZE
from tiny_models import build_tiny_model, tiny_config

from mobileinst_d2.export import ExportError


@pytest.fixture(scope="module")
def tiny():
    return ConfigCandidate("tiny", tiny_config())


def test_a_real_model_is_compared_in_pytorch_and_another_runtime(tiny, tmp_path):
    comparison = Comparison(
        [tiny],
        ["pytorch", "ncnn"],
        (64, 128),
        tmp_path,
        lambda function, *args: function(*args),  # in this process
        repeats=1,
    )
    comparison.prepare()
    comparison.run_round()
    row = comparison.rows[0]
    assert [cell.failure for cell in row.cells] == [None, None]
    assert row.cell("pytorch").difference == 0.0
    assert 0 < row.cell("ncnn").difference < 1e-4
    assert row.params == sum(p.numel() for p in build_tiny_model().parameters())
    assert 1e7 < row.macs < 1e9
    assert comparison.notes() == []


def test_an_exported_folder_is_timed_as_it_is(exported, tmp_path):
    folder = exported("ncnn")
    candidate = ExportedCandidate("small", folder)
    prepared = prepare_candidate(candidate, SIZE, "ncnn", tmp_path)
    assert prepared == PreparedGraph(folder, prepared.graph)
    timing = time_graph(prepared, "ncnn", 1, 2)
    assert len(timing.cpu) == 2
    assert timing.difference is None  # the export has checked it
    with pytest.raises(ExportError, match="exported for ncnn, not for onnx"):
        prepare_candidate(candidate, SIZE, "onnx", tmp_path)
    with pytest.raises(ExportError, match=r"exported for \(64, 128\), .* \(64, 64\)"):
        prepare_candidate(candidate, (64, 64), "ncnn", tmp_path)


def test_live_tracking_divides_into_stages(exported):
    stages = measure_live_stages(exported("ncnn"), 3, (96, 128), frames=3, warm_up=3)
    parts = stages.prepare, stages.network, stages.association, stages.masks
    assert min(parts) > 0
    assert stages.total == pytest.approx(sum(parts))
    share = (stages.association + stages.masks) / stages.total
    assert stages.share_after_network == pytest.approx(share)
    # As many as there are queries are shown, but for masks without a pixel.
    assert stages.instances > 10
