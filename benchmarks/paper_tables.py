"""The rows of the paper's Tables 1 and 2 that are in this project, with costs and latency ratios.

All networks run in turn on one core of this machine, with random weights, at the padded sizes of
the paper's rows; the ratio of each to the paper's model is beside the ratio of the paper's own
milliseconds, which are of one core of a Snapdragon 778G with TNN. AP is the paper's, nothing here
is trained. From the root of the project::

    python benchmarks/paper_tables.py --table 1
    python benchmarks/paper_tables.py --table 2 --runtime onnx --rounds 3
"""

import argparse
import functools
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from latency_models import ConfigCandidate
from latency_rounds import Comparison
from latency_tables import comparison_numbers
from latency_work import RUNTIMES
from processes import available_cores, default_core, run_in_worker
from reporting import describe_machine, markdown_table

from mobileinst_core.arguments import whole_number
from mobileinst_core.command import command, tidy_up_on_termination
from mobileinst_core.files import write_json
from mobileinst_d2.engine.setup import setup_cfg

# Seconds after which a process is taken for stuck.
TIME_LIMIT = 1800.0


class PaperRow(NamedTuple):
    """A row of the paper.

    Attributes:
        system: its name.
        backbone: its name.
        config: file in ``configs``.
        size: (H, W) of the padded input.
        milliseconds: the paper's latency.
        ap: the paper's AP; of Table 2 on YouTube-VIS 2019.
    """

    system: str
    backbone: str
    config: str
    size: tuple[int, int]
    milliseconds: float
    ap: float


# Short side 640, an image of 4:3, padded as the system pads.
_IMAGE, _IMAGE_32 = (640, 896), (640, 864)
# Short side 360 of a video of 16:9.
_VIDEO = (384, 640)

_TABLE_1 = (
    PaperRow("YOLACT", "ResNet-50", "yolact/yolact_r50_coco", (550, 550), 1039, 28.2),
    PaperRow(
        "SparseInst", "ResNet-50", "sparseinst/sparseinst_r50_giam_coco", (608, 864), 1752, 34.7
    ),
    PaperRow("YOLACT", "MobileNetV2", "yolact/yolact_mobilenetv2_coco", (550, 550), 463, 22.2),
    PaperRow("YOLACT", "TopFormer", "yolact/yolact_topformer-b_coco", (550, 550), 497, 20.8),
    PaperRow(
        "SparseInst", "TopFormer", "sparseinst/sparseinst_topformer-b_coco", (608, 864), 769, 30.0
    ),
    PaperRow(
        "Mask2Former, light",
        "TopFormer",
        "fastinst/mask2former-light_topformer-b_coco",
        _IMAGE_32,
        930,
        32.0,
    ),
    PaperRow(
        "FastInst", "TopFormer", "fastinst/fastinst_topformer-b_d3_coco", _IMAGE_32, 965, 31.0
    ),
    PaperRow(
        "MobileInst", "MobileNetV2", "mobileinst/mobileinst_mobilenetv2_coco", _IMAGE, 410, 30.0
    ),
    PaperRow(
        "MobileInst", "TopFormer", "mobileinst/mobileinst_topformer-b_coco", _IMAGE, 433, 31.2
    ),
    PaperRow(
        "MobileInst", "SeaFormer", "mobileinst/mobileinst_seaformer-b_coco", _IMAGE, 438, 31.6
    ),
)
_TABLE_2 = (
    PaperRow(
        "SparseInst-VIS",
        "TopFormer",
        "sparseinst/sparseinst_topformer-b_ytvis19",
        _VIDEO,
        389,
        33.3,
    ),
    PaperRow(
        "MobileInst", "TopFormer", "mobileinst/mobileinst_topformer-b_ytvis19", _VIDEO, 188, 35.0
    ),
)
TABLES = {1: _TABLE_1, 2: _TABLE_2}
# What ratios refer to, in both tables.
_REFERENCE = ("MobileInst", "TopFormer")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--table", type=int, choices=sorted(TABLES), required=True, help="of the paper")
    add("--runtime", nargs="+", choices=RUNTIMES, default=("onnx", "ncnn"))
    add("--rounds", type=whole_number(1), default=5, metavar="N", help="default 5")
    add("--cpu", type=whole_number(0), metavar="N", help="core to run on, default the last one")
    add("--output", type=Path, metavar="FILE", help="write all numbers as JSON")
    args = parser.parse_args(argv)
    if args.cpu is not None and args.cpu not in available_cores():
        parser.error(f"--cpu {args.cpu}: there is no such core to use")
    return args


def format_table(comparison: Comparison, rows: Sequence[PaperRow]) -> str:
    """The rows with the paper's numbers beside ours.

    Args:
        comparison: after its rounds, of one model per row.
        rows: of the paper.

    Returns:
        Markdown; a dash where something could not be measured.
    """
    reference = next(row for row in rows if (row.system, row.backbone) == _REFERENCE)
    cells = []
    for paper, row in zip(rows, comparison.rows, strict=True):
        ratios = [comparison.ratio(row, runtime) for runtime in comparison.runtimes]
        counted = row.macs is not None
        cells.append(
            (
                f"{paper.system}, {paper.backbone}",
                f"{paper.size[0]}x{paper.size[1]}",
                f"{row.macs / 1e9:.2f}" if counted else "–",
                f"{row.params / 1e6:.2f}" if counted else "–",
                f"{paper.ap:.1f}",
                f"{paper.milliseconds:.0f}",
                f"{paper.milliseconds / reference.milliseconds:.2f}",
                *("–" if x is None else f"{x:.2f}" for x in ratios),
            )
        )
    headers = ("model", "input", "GMAC", "params (M)", "paper: AP", "ms", "ratio")
    return markdown_table((*headers, *(f"{x}: ratio" for x in comparison.runtimes)), cells)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; models that fail are dashes, with their reasons below the table."""
    args = parse_args(argv)
    tidy_up_on_termination()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    rows = TABLES[args.table]
    candidates = [
        ConfigCandidate(
            f"{row.system}, {row.backbone}",
            setup_cfg(f"{row.config}.yaml", ["MODEL.DEVICE", "cpu"]),
            row.size,
        )
        for row in rows
    ]
    core = default_core() if args.cpu is None else args.cpu
    run = functools.partial(run_in_worker, core=core, timeout=TIME_LIMIT)
    with tempfile.TemporaryDirectory() as folder:
        comparison = Comparison(
            candidates,
            args.runtime,
            rows[-1].size,
            Path(folder),
            run,
            warm_ups=1,
            repeats=3,
            reference=", ".join(_REFERENCE),
        )
        comparison.prepare()
        for number in range(1, args.rounds + 1):
            logging.info("round %d of %d", number, args.rounds)
            comparison.run_round()
            if args.output:
                write_json(args.output, comparison_numbers(comparison))
    pinned = "" if core is None else f", pinned to core {core}"
    print(f"Table {args.table} of the paper, one thread{pinned}; {describe_machine()}.\n")
    print(format_table(comparison, rows))
    print("\n" + "\n".join(f"- {note}" for note in comparison.notes()))


if __name__ == "__main__":
    sys.exit(main())
