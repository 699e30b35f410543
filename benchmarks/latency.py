"""Time models side by side on one core of this machine, in PyTorch and in exported form.

Each model in each runtime runs in a process of its own, pinned to one core, with one thread; all
take turns, round after round. A time is the CPU time of the process in the fastest call of a round,
which other processes on the machine hardly change; tables show the median over the rounds. Ratios
to the reference are of the same session and the same runtime: only they carry over to other
machines, and those only roughly. Weights are random, except in exported folders.

Examples::

    python benchmarks/latency.py --package yolo11n-seg yolo26n-seg maskrcnn_resnet50_fpn \\
        --config-file configs/mobileinst/mobileinst_topformer-b_coco.yaml --breakdown
    python benchmarks/latency.py --exported output/onnx output/ncnn --live output/onnx output/ncnn
"""

import argparse
import functools
import importlib.metadata
import logging
import os
import shlex
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from latency_live import LiveRounds, measure_live_stages, time_stages
from latency_models import (
    PARTS,
    Candidate,
    ConfigCandidate,
    ExportedCandidate,
    PackageCandidate,
    PartCandidate,
)
from latency_rounds import Comparison, TimedRounds
from latency_tables import (
    breakdown_table,
    comparison_numbers,
    live_numbers,
    live_table,
    milliseconds_table,
    ratio_table,
    rounds_numbers,
)
from latency_work import RUNTIMES
from processes import (
    WorkerError,
    available_cores,
    default_core,
    run_in_worker,
)
from reporting import describe_machine

from mobileinst_core.arguments import whole_number
from mobileinst_core.command import command, tidy_up_on_termination
from mobileinst_core.files import replacing, write_json
from mobileinst_core.runtime.manifest import read_manifest
from mobileinst_d2.engine.setup import setup_cfg

DEFAULT_RUNTIMES = ("pytorch", "onnx", "ncnn")
# Seconds after which a process is taken for stuck.
TIME_LIMIT = 1800.0
# Packages whose versions belong to a measurement, where they are installed.
PACKAGES = ("torchvision", "onnxruntime", "onnx", "ncnn", "pnnx", "openvino", "ultralytics")
# Distances of key frames in live tracking, and frames per round: multiples of them.
CLIP_LENGTHS = (1, 3)
LIVE_FRAMES, LIVE_WARM_UP = 12, 3

Run = Callable[..., object]


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
        help="models of other packages: of torchvision, such as maskrcnn_resnet50_fpn, or of "
        "ultralytics (AGPL-3.0, not a dependency of this project), such as yolo11n-seg or "
        "yolo26n-seg",
    )
    add(
        "--breakdown",
        action="store_true",
        help="also time the parts of each config's model, each exported alone, and what follows "
        "the network",
    )
    add(
        "--live",
        nargs="+",
        default=[],
        type=Path,
        metavar="DIR",
        help="also track a stream with exported folders, at T = 1 and T = 3",
    )
    add("--video", metavar="SOURCE", help="what --live tracks: a video, or a folder of frames")
    add(
        "--runtime",
        nargs="+",
        choices=RUNTIMES,
        default=DEFAULT_RUNTIMES,
        help=f"default {' '.join(DEFAULT_RUNTIMES)}",
    )
    for name, default, purpose in (
        ("size", (640, 640), "of the input"),
        ("camera", (480, 640), "of the generated frames that --live tracks without --video"),
    ):
        size = {"nargs": 2, "type": whole_number(32), "metavar": ("H", "W"), "default": default}
        add(f"--{name}", **size, help=f"{purpose}, default {default[0]} {default[1]}")
    for name, default, purpose in (
        ("rounds", 5, "how often all take their turns"),
        ("repeats", 5, "calls in each turn"),
        ("warm-ups", 2, "calls before them"),
    ):
        number = {"type": whole_number(1), "default": default, "metavar": "N"}
        add(f"--{name}", **number, help=f"{purpose}, default {default}")
    add("--reference", metavar="NAME", help="row that ratios refer to, default the first")
    add("--cpu", type=whole_number(0), metavar="N", help="core to run on, default the last one")
    add("--output", type=Path, metavar="FILE", help="write all numbers as JSON")
    add("--markdown", type=Path, metavar="FILE", help="write the tables as Markdown")
    args = parser.parse_args(argv)
    check_args(parser, args)
    return args


def check_args(parser: argparse.ArgumentParser, args: argparse.Namespace) -> None:
    """Refuse options that contradict each other or this machine."""
    if not (args.config_file or args.exported or args.package or args.live):
        parser.error("name models with --config-file, --exported, --package or --live")
    if args.breakdown and not args.config_file:
        parser.error("--breakdown is of models of --config-file")
    if args.video and not args.live:
        parser.error("--video is for --live")
    if args.cpu is not None and args.cpu not in available_cores():
        cores = ", ".join(map(str, sorted(available_cores()))) or "none by number"
        parser.error(f"--cpu {args.cpu}: the cores that can be used are {cores}")


def find_candidates(args: argparse.Namespace) -> list[Candidate]:
    """The rows, in the order config files, exported folders, packages."""
    candidates: list[Candidate] = []
    for file in args.config_file:
        candidates.append(ConfigCandidate(Path(file).stem, setup_cfg(file)))
    for folder in args.exported:
        candidates.append(ExportedCandidate(str(folder), folder))
    for name in args.package:
        candidate = PackageCandidate(name)
        candidate.check()
        candidates.append(candidate)
    for folder in (*args.exported, *args.live):
        read_manifest(folder)  # a folder that is none is known before anything is measured
    return candidates


class Report:
    """The results so far, as Markdown and JSON; files are kept up to date."""

    def __init__(self, args: argparse.Namespace, core: int | None, command: str) -> None:
        """Begin; a file that cannot be written is known before anything is measured."""
        self.files = args.output, args.markdown
        self.numbers: dict[str, object] = {
            "command": command,
            "machine": describe_machine(),
            "versions": _versions(),
            "core": core,
            "rounds": args.rounds,
            "repeats": args.repeats,
            "warm_ups": args.warm_ups,
        }
        versions = ", ".join(f"{name} {x}" for name, x in self.numbers["versions"].items())
        pinned = "not pinned" if core is None else f"pinned to core {core}"
        self.sections: dict[str, str] = {
            "command": f"    {command}",
            "machine": f"One thread, {pinned}; {self.numbers['machine']}; {versions}. Times are "
            f"CPU times, medians of {args.rounds} rounds ± half their range.",
        }
        self._save()

    @property
    def text(self) -> str:
        """Markdown."""
        return "\n\n".join(self.sections.values()) + "\n"

    def add(self, name: str, text: str, numbers: object) -> None:
        """Set a section and its numbers."""
        self.sections[name] = text
        self.numbers[name] = numbers
        self._save()

    def _save(self) -> None:
        json_file, markdown_file = self.files
        if json_file:
            write_json(json_file, self.numbers)
        if markdown_file:
            markdown_file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(markdown_file) as partial:
                partial.write_text(self.text, encoding="utf-8")


def _versions() -> dict[str, str]:
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def describe_comparison(comparison: Comparison) -> str:
    """A comparison as Markdown."""
    height, width = comparison.size
    peak = "which could not be measured"
    if comparison.peak:
        rate, best = max((rate, name) for name, rate in comparison.peak.items())
        peak = f"{rate:.0f} GFLOP/s as measured ({best})"
    parts = [
        f"### Models, input 1x3x{height}x{width}",
        f"Time over that of {comparison.reference} in the same runtime:",
        ratio_table(comparison),
        f"Milliseconds on this machine, and the fraction of the core's fp32 peak, {peak}:",
        milliseconds_table(comparison),
        "\n".join(f"- {note}" for note in comparison.notes()),
    ]
    return "\n\n".join(part for part in parts if part)


def compare(args: argparse.Namespace, candidates: list, run: Run, report: Report) -> None:
    """Time the models."""
    with tempfile.TemporaryDirectory() as folder:
        comparison = new_comparison(args, candidates, Path(folder), run, args.reference)
        comparison.prepare()
        for number in range(1, args.rounds + 1):
            logging.info("round %d of %d", number, args.rounds)
            comparison.run_round()
            text, numbers = describe_comparison(comparison), comparison_numbers(comparison)
            report.add("comparison", text, numbers)


def new_comparison(
    args: argparse.Namespace, candidates: list, folder: Path, run: Run, reference: str | None
) -> Comparison:
    """A comparison with the numbers of the command line."""
    size, calls = tuple(args.size), {"warm_ups": args.warm_ups, "repeats": args.repeats}
    return Comparison(candidates, args.runtime, size, folder, run, reference=reference, **calls)


def break_down(args: argparse.Namespace, whole: ConfigCandidate, run: Run, report: Report) -> None:
    """Time the parts of one model, and what follows it."""
    parts = [whole, *(PartCandidate(part, whole) for part in PARTS)]
    stages: dict[str, TimedRounds] = {}
    with tempfile.TemporaryDirectory() as folder:
        comparison = new_comparison(args, parts, Path(folder), run, whole.name)
        comparison.prepare()
        for number in range(1, args.rounds + 1):
            logging.info("parts of %s, round %d of %d", whole.name, number, args.rounds)
            comparison.run_round()
            try:
                times = run(time_stages, comparison.size, args.warm_ups, args.repeats)
            except WorkerError as error:
                logging.warning("post-processing and tracking: %s", error)
                times = {}
            for name, timing in times.items():
                stages.setdefault(name, TimedRounds()).add(timing)
            sections = [
                f"### Parts of {whole.name}, input 1x3x{args.size[0]}x{args.size[1]}",
                "Each part is exported and timed alone; post-processing and tracking run in "
                "Python, on generated masks and kernels, whatever the runtime.",
                breakdown_table(comparison, stages),
                "\n".join(f"- {note}" for note in comparison.notes()),
            ]
            numbers = comparison_numbers(comparison)
            numbers["stages"] = {name: rounds_numbers(x) for name, x in stages.items()}
            report.add(f"parts of {whole.name}", "\n\n".join(filter(None, sections)), numbers)


def track_live(args: argparse.Namespace, run: Run, report: Report) -> None:
    """Track a stream with each exported folder and each distance of key frames."""
    lives = [LiveRounds(folder, clip_len) for folder in args.live for clip_len in CLIP_LENGTHS]
    source = args.video or tuple(args.camera)
    for number in range(1, args.rounds + 1):
        logging.info("live tracking, round %d of %d", number, args.rounds)
        for live in lives:
            if live.failure is not None:
                continue
            stream = live.folder, live.clip_len, source, LIVE_FRAMES, LIVE_WARM_UP
            try:
                live.rounds.append(run(measure_live_stages, *stream))
            except WorkerError as error:
                live.failure = str(error)
                logging.warning("%s, T = %d: %s", live.folder, live.clip_len, error)
        notes = [f"- {x.folder}, T = {x.clip_len} failed: {x.failure}" for x in lives if x.failure]
        sections = [
            f"### Live tracking of {args.video or 'a generated image, {}x{}'.format(*source)}",
            "Mean time per frame with the exported pair of graphs, over key frames and others.",
            live_table(lives),
            "\n".join(notes),
        ]
        report.add("live", "\n\n".join(filter(None, sections)), live_numbers(lives))


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print; models that fail are dashes in the tables.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    args = parse_args(argv)
    tidy_up_on_termination()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    core = default_core() if args.cpu is None else args.cpu
    run = functools.partial(run_in_worker, core=core, timeout=TIME_LIMIT)
    arguments = sys.argv[1:] if argv is None else argv
    candidates = find_candidates(args)
    report = Report(args, core, shlex.join(["python", "benchmarks/latency.py", *arguments]))
    with tempfile.TemporaryDirectory() as settings:
        # Ultralytics shall not connect, nor write into the home folder when it is imported.
        os.environ |= {"YOLO_OFFLINE": "true", "YOLO_CONFIG_DIR": settings}
        wholes = [x for x in candidates if args.breakdown and isinstance(x, ConfigCandidate)]
        # The breakdown of a single model times that model too.
        if len(candidates) > 1 or len(wholes) < len(candidates):
            compare(args, candidates, run, report)
        for whole in wholes:
            break_down(args, whole, run, report)
        if args.live:
            track_live(args, run, report)
    print(report.text)


if __name__ == "__main__":
    sys.exit(main())
