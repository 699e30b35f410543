"""Time models side by side on one core of this machine, in PyTorch and in exported form.

Each model in each runtime runs in a process of its own, pinned to one core, with one thread; all
take turns, round after round. A time is the CPU time of the process in the fastest call of a round,
which other processes on the machine hardly change; tables show the median over the rounds. Ratios
to the reference are of the same session and the same runtime: only they carry over to other
machines, and those only roughly. Weights are random, except in exported folders.

Examples::

    python tools/benchmark.py --package yolo11n-seg yolo26n-seg \\
        --config-file configs/mobileinst/mobileinst_topformer-b_coco.yaml
    python tools/benchmark.py --exported output/onnx output/ncnn --runtime onnx ncnn
"""

import argparse
import functools
import importlib.metadata
import logging
import shlex
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mobileinst_d2.benchmark.candidates import (
    Candidate,
    ConfigCandidate,
    ExportedCandidate,
    PackageCandidate,
)
from mobileinst_d2.benchmark.graphs import RUNTIMES
from mobileinst_d2.benchmark.isolation import default_core, run_in_worker
from mobileinst_d2.benchmark.latency import Comparison
from mobileinst_d2.benchmark.machine import describe_machine
from mobileinst_d2.benchmark.table import comparison_numbers, milliseconds_table, ratio_table
from mobileinst_d2.engine.setup import ConfigError, setup_cfg
from mobileinst_d2.export.runners import ExportError
from mobileinst_d2.utils.arguments import whole_number
from mobileinst_d2.utils.files import replacing, write_json

DEFAULT_RUNTIMES = ("pytorch", "onnx", "ncnn")
# Seconds after which a process is taken for stuck.
TIME_LIMIT = 1200.0
# Packages whose versions belong to a measurement, where they are installed.
PACKAGES = ("torchvision", "onnxruntime", "onnx", "ncnn", "pnnx", "openvino", "MNN", "ultralytics")


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", nargs="+", default=[], metavar="FILE", help="models of yaml configs")
    add("--exported", nargs="+", default=[], type=Path, metavar="DIR", help="folders of export.py")
    add(
        "--package",
        nargs="+",
        default=[],
        metavar="NAME",
        help="models of other packages: of torchvision.models.detection, such as "
        "maskrcnn_resnet50_fpn, or of ultralytics (AGPL-3.0, not a dependency of this project), "
        "such as yolo11n-seg or yolo26n-seg",
    )
    add(
        "--runtime",
        nargs="+",
        choices=RUNTIMES,
        default=DEFAULT_RUNTIMES,
        help=f"default {' '.join(DEFAULT_RUNTIMES)}",
    )
    size = {"nargs": 2, "type": whole_number(32), "metavar": ("H", "W"), "default": (640, 640)}
    add("--size", **size, help="of the input, default 640 640")
    for name, least, default, purpose in (
        ("rounds", 1, 5, "how often all take their turns"),
        ("repeats", 1, 5, "calls in each turn"),
        ("warm-ups", 1, 2, "calls before them"),
    ):
        number = {"type": whole_number(least), "default": default, "metavar": "N"}
        add(f"--{name}", **number, help=f"{purpose}, default {default}")
    add("--reference", metavar="NAME", help="row that ratios refer to, default the first")
    add("--cpu", type=whole_number(0), metavar="N", help="core to run on, default the last one")
    add("--output", type=Path, metavar="FILE", help="write all numbers as JSON")
    add("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    return parser.parse_args(argv)


def find_candidates(args: argparse.Namespace) -> list[Candidate]:
    """The rows, in the order config files, exported folders, packages."""
    candidates: list[Candidate] = []
    for file in args.config_file:
        candidates.append(ConfigCandidate(Path(file).stem, setup_cfg(file)))
    for folder in args.exported:
        candidate = ExportedCandidate(str(folder), folder)
        candidate.sidecar()
        candidates.append(candidate)
    for name in args.package:
        candidate = PackageCandidate(name)
        candidate.check()
        candidates.append(candidate)
    return candidates


class Report:
    """Keeps the files up to date while the measurement goes on."""

    def __init__(self, args: argparse.Namespace, core: int | None, command: str) -> None:
        """Begin; a file that cannot be written is known before anything is measured."""
        self.json_file, self.markdown_file = args.output, args.markdown
        self.about = {
            "command": command,
            "machine": describe_machine(),
            "versions": _versions(),
            "core": core,
            "rounds": args.rounds,
            "repeats": args.repeats,
            "warm_ups": args.warm_ups,
        }
        self._save({}, "")

    def update(self, comparison: Comparison) -> str:
        """Write what is known so far, and return it as Markdown."""
        height, width = comparison.size
        about = self.about
        versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
        core = "not pinned" if about["core"] is None else f"pinned to core {about['core']}"
        peak, best = max((rate, name) for name, rate in comparison.peak.items())
        parts = [
            f"    {about['command']}",
            f"Input 1x3x{height}x{width}, one thread, {core}; {about['machine']}; {versions}.",
            f"Measured fp32 peak of the core: {peak:.0f} GFLOP/s ({best}).",
            f"Time over that of {comparison.reference} in the same runtime:",
            ratio_table(comparison),
            f"CPU time of a call, median of {about['rounds']} rounds and half their range, and "
            "the fraction of the measured peak:",
            milliseconds_table(comparison),
            "\n".join(f"- {note}" for note in comparison.notes()),
        ]
        text = "\n\n".join(part for part in parts if part) + "\n"
        self._save(comparison_numbers(comparison), text)
        return text

    def _save(self, numbers: dict, markdown: str) -> None:
        if self.json_file:
            write_json(self.json_file, self.about | numbers)
        if self.markdown_file:
            self.markdown_file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self.markdown_file) as partial:
                partial.write_text(markdown, encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status is 0 also where some models failed."""
    args = parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    core = default_core() if args.cpu is None else args.cpu
    run = functools.partial(run_in_worker, core=core, timeout=TIME_LIMIT)
    command = shlex.join(
        ["python", "tools/benchmark.py", *(sys.argv[1:] if argv is None else argv)]
    )
    try:
        candidates = find_candidates(args)
        with tempfile.TemporaryDirectory() as folder:
            comparison = Comparison(
                candidates,
                args.runtime,
                tuple(args.size),
                Path(folder),
                run,
                warm_ups=args.warm_ups,
                repeats=args.repeats,
                reference=args.reference,
            )
            report = Report(args, core, command)
            comparison.prepare()
            for number in range(1, args.rounds + 1):
                logging.info("round %d/%d", number, args.rounds)
                comparison.run_round()
                text = report.update(comparison)
    except (ConfigError, ExportError, OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from error
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
