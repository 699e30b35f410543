"""Print multiply-accumulates and parameters of a model, by module, or of the paper's tables.

Examples::

    python tools/analyze.py --config-file configs/mobileinst/mobileinst_topformer-b_coco.yaml
    python tools/analyze.py --paper
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from mobileinst_core.command import command
from mobileinst_core.errors import ConfigError
from mobileinst_d2.analysis import (
    PAPER_ROWS,
    PAPER_SIZE,
    PAPER_TOLERANCE,
    ModelCost,
    measure_cost,
)
from mobileinst_d2.engine.setup import setup_cfg

from detectron2.config import CfgNode
from detectron2.modeling import build_model

ABLATIONS = Path(__file__).resolve().parents[1] / "configs" / "mobileinst" / "ablations"
ON_CPU = ("MODEL.DEVICE", "cpu")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    model = parser.add_mutually_exclusive_group(required=True)
    model.add_argument("--config-file", metavar="FILE", help="a yaml config")
    model.add_argument(
        "--paper",
        action="store_true",
        help=f"rebuild the {len(PAPER_ROWS)} rows of the paper with published FLOPs, compare, and "
        f"fail where one is off by more than {PAPER_TOLERANCE:.2%}%",
    )
    parser.add_argument(
        "--size",
        nargs=2,
        type=int,
        metavar=("H", "W"),
        help="padded input (default: 640 896, the paper's)",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="also write the rows as JSON; - = nothing else on stdout"
    )
    parser.add_argument("opts", nargs=argparse.REMAINDER, help="config overrides: KEY VALUE ...")
    args = parser.parse_args(argv)
    if args.paper and (args.size or args.opts):
        parser.error("--paper takes the paper's size and no config overrides")
    return args


def measure(cfg: CfgNode, size: tuple[int, int]) -> ModelCost:
    """Build the model of a config and count what it costs."""
    model = build_model(cfg)
    divisor = model.size_divisibility
    if any(side < divisor or side % divisor for side in size):
        raise ConfigError(f"--size takes multiples of {divisor}, got {size}")
    return measure_cost(model, size)


def break_down(cost: ModelCost) -> tuple[list[dict], str]:
    """The rows of a model's modules and their total, and their table."""
    parts = (*cost.by_module, ("total", cost.macs, cost.params))
    rows = [{"row": name, "gmac": macs / 1e9, "mparams": n / 1e6} for name, macs, n in parts]
    cells = [(x["row"], f"{x['gmac']:.4f}", f"{x['mparams']:.4f}") for x in rows]
    return rows, table(cells, ["module", "GMAC", "params (M)"])


def compare_with_paper() -> tuple[list[dict], str, list[str]]:
    """The rows of the paper with our costs, their table, and the names of those that are off."""
    rows, cells, off = [], [], []
    for number, paper in enumerate(PAPER_ROWS, 1):
        print(f"[{number}/{len(PAPER_ROWS)}] {paper.config}", file=sys.stderr, flush=True)
        cost = measure(setup_cfg(ABLATIONS / paper.config, ON_CPU), PAPER_SIZE)
        gmac, mparams = cost.macs / 1e9, cost.params / 1e6
        difference = gmac / paper.published - 1
        if abs(difference) > PAPER_TOLERANCE:
            off.append(paper.row)
        rows.append(
            {"row": paper.row, "published": paper.published, "gmac": gmac, "mparams": mparams}
        )
        cells.append(
            (
                paper.row,
                f"{paper.published:.2f}",
                f"{gmac:.3f}",
                f"{difference:+.3%}",
                f"{mparams:.3f}",
            )
        )
    headers = ["row", "published GFLOPs", "GMAC", "difference", "params (M)"]
    return rows, table(cells, headers), off


def table(cells: list[tuple], headers: list[str]) -> str:
    """A table with the names on the left and numbers on the right."""
    align = ["left"] + ["right"] * (len(headers) - 1)
    return tabulate(cells, headers=headers, colalign=align, disable_numparse=True)


def write_json(file: str, rows: list[dict]) -> None:
    """Write the rows to a file, or to stdout for "-"."""
    text = json.dumps({"rows": rows}, indent=2) + "\n"
    if file == "-":
        sys.stdout.write(text)
        return
    Path(file).write_text(text, encoding="utf-8")


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Count and print; the exit status is 1 where a row of the paper is not reproduced."""
    args = parse_args(argv)
    height, width = size = tuple(args.size or PAPER_SIZE)
    off: list[str] = []
    if args.paper:
        rows, text, off = compare_with_paper()
        title = f"the paper's tables: one image of 3x{height}x{width}"
    else:
        cfg = setup_cfg(args.config_file, [*args.opts, *ON_CPU])
        rows, text = break_down(measure(cfg, size))
        classes = cfg.MODEL.NUM_CLASSES
        title = f"{args.config_file}: one image of 3x{height}x{width}, {classes} classes"
    print(f"{title}\n{text}", file=sys.stderr if args.json == "-" else sys.stdout)
    if args.json:
        write_json(args.json, rows)
    if off:
        print(f"off by more than {PAPER_TOLERANCE:.2%}: {'; '.join(off)}", file=sys.stderr)
    return 1 if off else 0


if __name__ == "__main__":
    sys.exit(main())
