"""The benchmark of post-processing measures what it says; times themselves are not tested."""

import json

import benchmark_postprocess
import pytest
import torch

from mobileinst_d2.modeling.postprocess import read_masks


def test_both_ways_are_measured_with_and_without_codes(capsys, tmp_path):
    target = tmp_path / "masks.json"
    sizes = ["--input", "64", "96", "--original", "45", "70"]
    arguments = [*sizes, "--masks", "4", "2", "--repeats", "1", "--json", str(target)]
    assert benchmark_postprocess.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "input 64x96, image 62x96, original 45x70, one thread" in printed
    assert "mean 1.000000, minimum 1.000000" in printed
    content = json.loads(target.read_text())
    measured = [(x["masks"], x["result"]) for x in content["seconds"]]
    assert measured == [(4, "masks"), (4, "RLE"), (2, "masks"), (2, "RLE")]
    assert all(x[name] >= 0 for x in content["seconds"] for name in ("box", "published"))


def test_the_masks_cover_what_they_should():
    sizes = (480, 640), (480, 640)
    logits = benchmark_postprocess.make_logits(50, *sizes)
    assert (logits > 0).float().mean() == pytest.approx(benchmark_postprocess.COVERAGE, abs=0.03)


def test_overlaps_are_of_the_masks(monkeypatch):
    logits = torch.full((2, 8, 8), -9.0)
    logits[0, :4] = 9.0
    iou = benchmark_postprocess.overlaps(logits, (64, 64), (64, 64))
    assert iou.tolist() == [1.0, 1.0]
    half = torch.full((2, 8, 8), -9.0)
    half[0, :2] = 9.0
    monkeypatch.setattr(
        benchmark_postprocess,
        "read_masks",
        lambda _, threshold, paste: read_masks(
            {"box": logits, "published": half}[paste], threshold, paste
        ),
    )
    iou = benchmark_postprocess.overlaps(logits, (64, 64), (64, 64))
    assert iou.tolist() == [pytest.approx(0.5, abs=0.03), 1.0]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--input", "60", "64"], "must be multiples of 8"),
        (["--input", "64", "64", "--image", "65", "64"], "is larger than"),
        (["--masks", "0"], "is below"),
    ],
)
def test_nonsense_is_refused(arguments, message, capsys):
    with pytest.raises(SystemExit):
        benchmark_postprocess.main(arguments)
    assert message in capsys.readouterr().err
