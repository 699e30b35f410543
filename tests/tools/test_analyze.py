import json

import analyze
import pytest
import torch

from mobileinst_d2.analysis import ModelCost, PaperRow

# Tables 6, 3 and 5 of the paper, in the order of the tool.
PUBLISHED = [
    *(34.69, 24.11, 18.82, 18.48, 24.24, 24.37),
    *(24.17, 24.15, 24.24, 24.22),
    *(25.85, 24.32, 24.24),
]


@torch.no_grad()  # which costs less and counts the same
def test_the_papers_tables_are_reproduced(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert analyze.main(["--paper", "--json", "-"]) == 0
    out, err = capsys.readouterr()
    rows = json.loads(out)["rows"]
    assert [row["published"] for row in rows] == PUBLISHED
    for row in rows:
        assert set(row) == {"row", "published", "gmac", "mparams"}
        assert row["gmac"] == pytest.approx(row["published"], rel=5e-4), row["row"]
        assert f"{row['gmac']:.3f}" in err
    params = {row["row"]: row["mparams"] for row in rows}
    assert params["Table 6: ours"] == pytest.approx(11.171, abs=5e-4)
    assert params["Table 6: ours + semantic enhancer"] == pytest.approx(11.699, abs=5e-4)
    encoders = [params[f"Table 6: {name}, 1x conv"] for name in ("SparseInst", "FPN")]
    # Four 1x1 convolutions to 512 channels, and 2048 more inputs of the one after them.
    pooling = 4 * 257 * 512 + (256 + 4 * 512 + 1) * 256
    assert encoders[0] - encoders[1] == pytest.approx(pooling / 1e6)
    assert "[13/13] table5_avg8.yaml" in err


@pytest.fixture
def measured(monkeypatch) -> list[float]:
    """Costs, in 1e9, that the next rows of the paper will show; each is published as 20."""
    costs: list[float] = []

    def measure(cfg: object, size: tuple[int, int]) -> ModelCost:
        return ModelCost(round(costs.pop(0) * 1e9), 5_000_000, [])

    rows = [PaperRow("first", 20.0, "a.yaml"), PaperRow("second", 20.0, "b.yaml")]
    monkeypatch.setattr(analyze, "PAPER_ROWS", rows)
    monkeypatch.setattr(analyze, "setup_cfg", lambda *_: None)
    monkeypatch.setattr(analyze, "measure", measure)
    return costs


@pytest.mark.parametrize(
    ("costs", "off"),
    [((20.0099, 19.9901), ""), ((20.0, 20.0101), "second"), ((19.9899, 20.0), "first")],
)
def test_a_row_that_is_off_is_named_still_reported_and_in_the_status(
    measured, costs, off, tmp_path, capsys
):
    measured += costs
    file = tmp_path / "rows.json"
    assert analyze.main(["--paper", "--json", str(file)]) == bool(off)
    assert ("off by more than 0.05%" in (err := capsys.readouterr().err)) == bool(off)
    assert off in err
    rows = json.loads(file.read_text(encoding="utf-8"))["rows"]
    assert rows[1] == {"row": "second", "published": 20.0, "gmac": costs[1], "mparams": 5.0}


def test_a_model_is_broken_down_by_module(repository, capsys, fails):
    config = repository / "configs" / "toy" / "shapes_image.yaml"
    command = ["--config-file", str(config), "--size", "64", "128", "--json", "-"]
    assert analyze.main([*command, "MODEL.NUM_CLASSES", "7"]) == 0
    out, err = capsys.readouterr()
    *parts, total = json.loads(out)["rows"]
    assert total["row"] == "total"
    for key in ("gmac", "mparams"):
        assert sum(part[key] for part in parts) == pytest.approx(total[key])
    assert "3x64x128, 7 classes" in err
    command[3] = "96"
    fails(r"multiples of 64, got \(96, 128\)", analyze.main, command)


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ([], "one of the arguments --config-file --paper is required"),
        (["--paper", "--config-file", "x.yaml"], "not allowed with"),
        (["--paper", "--size", "64", "64"], "--paper takes the paper's size"),
        (["--paper", "MODEL.NUM_CLASSES", "40"], "no config overrides"),
    ],
)
def test_contradictory_commands_are_rejected(command, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        analyze.main(command)
    assert message in capsys.readouterr().err
