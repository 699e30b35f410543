"""How fast the networks learn: named trainings over several seeds, one table and one figure.

The runs are in a YAML file, see benchmarks/learning.yaml. Each training is a process of
train_net.py; one that was interrupted goes on from its last checkpoint, one that is done is not
repeated, so the same command may be given again, also in the background. From the root of the
project::

    python benchmarks/learning.py --output output/learning
    nohup python benchmarks/learning.py --only converged_l --seeds 1 2 > learning.log &
    python benchmarks/learning.py --report
"""

import argparse
import copy
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import yaml
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tabulate import tabulate

from mobileinst_core.command import command
from mobileinst_core.errors import UserError
from mobileinst_d2.evaluation.ytvis import evaluate_ytvis

matplotlib.use("Agg")
import matplotlib.pyplot as plt

ROOT = Path(__file__).resolve().parents[1]
RUNS = Path(__file__).with_suffix(".yaml")
# What train_net.py writes to the folder "inference", of videos and of images.
RESULTS = ("results.json", "coco_instances_results.json")


@dataclass(frozen=True)
class Run:
    """A training over several seeds.

    Attributes:
        name: names the folder of its results.
        config: config file, relative to the root of the project.
        opts: config keys and values, on top of it.
        seeds: seeds of the trainings.
        truth: annotations of the test set, for the class-agnostic AP.
        start: name of the run whose weights of the same seed it starts from; "" = none.
        tests: further evaluations of the trained model: config keys and values by name.
    """

    name: str
    config: str
    opts: Mapping[str, Any]
    seeds: tuple[int, ...]
    truth: str
    start: str = ""
    tests: Mapping[str, Mapping[str, Any]] | None = None


def load_runs(path: Path) -> dict[str, Run]:
    """Read a file of runs.

    Args:
        path: YAML: a mapping from names to the attributes of :class:`Run`.

    Returns:
        The runs by name, in the order of the file.

    Raises:
        ValueError: if an entry has an unknown or a missing key, or starts from a run that does not
            stand before it.
    """
    runs: dict[str, Run] = {}
    for name, entry in yaml.safe_load(path.read_text(encoding="utf-8")).items():
        try:
            run = Run(name=name, **{**entry, "seeds": tuple(entry.get("seeds", ()))})
        except TypeError as error:
            raise ValueError(f"{path}: run {name!r}: {error}") from error
        if run.start and run.start not in runs:
            raise ValueError(f"{path}: run {name!r} starts from {run.start!r}, which is not above")
        if not run.seeds:
            raise ValueError(f"{path}: run {name!r} has no seeds")
        runs[name] = run
    return runs


def train(run: Run, seed: int, output: Path) -> None:
    """Train and evaluate one seed, as far as that has not been done.

    Args:
        run: the run.
        seed: its seed.
        output: folder of all runs.

    Raises:
        subprocess.CalledProcessError: if a command fails; its log lies in the folder of the run.
    """
    folder = output / run.name / f"seed{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    opts = {**run.opts, "SEED": seed}
    if run.start:
        opts["MODEL.WEIGHTS"] = output / run.start / f"seed{seed}" / "model_final.pth"
    is_done = any((folder / "inference" / name).is_file() for name in RESULTS)
    if not is_done or not (folder / "model_final.pth").is_file():
        _train_net(run.config, {**opts, "OUTPUT_DIR": folder}, "--resume", log=folder / "run.log")
    for name, more in (run.tests or {}).items():
        test = folder / name
        if not (test / "inference").is_dir():
            final = {"MODEL.WEIGHTS": folder / "model_final.pth", "OUTPUT_DIR": test}
            test.mkdir(exist_ok=True)
            _train_net(run.config, {**opts, **more, **final}, "--eval-only", log=test / "run.log")


def _train_net(config: str, opts: Mapping[str, Any], flag: str, *, log: Path) -> None:
    command = [sys.executable, "-W", "ignore", "train_net.py", flag, "--config-file", config]
    command += [str(x) for pair in opts.items() for x in pair]
    with log.open("a", encoding="utf-8") as file:
        file.write("$ " + " ".join(command[3:]) + "\n")
        file.flush()
        environment = {"OMP_NUM_THREADS": "1"} | os.environ
        subprocess.run(
            command, cwd=ROOT, env=environment, stdout=file, stderr=subprocess.STDOUT, check=True
        )


def average_precision(truth: Path, results: Path) -> dict[str, float]:
    """AP of a results file in percent, with and without classes.

    Args:
        truth: annotations in the COCO or the YouTube-VIS format.
        results: results in the same format.

    Returns:
        "AP", "AP50", "agnostic AP" and "agnostic AP50"; the latter two score masks alone, as if
        there were one class.
    """
    content = json.loads(truth.read_text(encoding="utf-8"))
    entries = json.loads(results.read_text(encoding="utf-8"))
    one_class = [dict(entry, category_id=1) for entry in entries]
    merged = dict(
        content,
        categories=[{"id": 1, "name": "object"}],
        annotations=[dict(entry, category_id=1) for entry in content["annotations"]],
    )
    score = _video_ap if "videos" in content else _image_ap
    named, agnostic = score(content, entries), score(merged, one_class)
    return {**named, **{f"agnostic {name}": value for name, value in agnostic.items()}}


def _video_ap(truth: dict, results: list[dict]) -> dict[str, float]:
    summary = evaluate_ytvis(truth, results).summary
    return {name: summary[name] for name in ("AP", "AP50")}


def _image_ap(truth: dict, results: list[dict]) -> dict[str, float]:
    if not results:
        return {"AP": 0.0, "AP50": 0.0}
    ground = COCO()
    # Both are changed by pycocotools.
    ground.dataset = copy.deepcopy(truth)
    ground.createIndex()
    evaluation = COCOeval(ground, ground.loadRes(copy.deepcopy(results)), "segm")
    evaluation.evaluate()
    evaluation.accumulate()
    evaluation.summarize()
    return {"AP": 100 * evaluation.stats[0], "AP50": 100 * evaluation.stats[1]}


def read_curve(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Loss and AP over the iterations of one training.

    Args:
        folder: the OUTPUT_DIR of the training.

    Returns:
        "total_loss", "loss_cls", "AP" and "time", each a list of iteration and value.
    """
    names = {"total_loss": "total_loss", "loss_cls": "loss_cls", "segm/AP": "AP", "time": "time"}
    # FastInst's, of its last layer.
    names["loss_ce"] = "loss_cls"
    curve: dict[str, dict[int, float]] = {name: {} for name in names.values()}
    with (folder / "metrics.json").open(encoding="utf-8") as file:
        for line in file:
            values = json.loads(line)
            for key, name in names.items():
                # Undefined numbers are null there.
                if values.get(key) is not None:
                    # A resumed training writes the iterations since its checkpoint again.
                    curve[name][values["iteration"] + 1] = values[key]
    return {name: sorted(points.items()) for name, points in curve.items()}


def summarize(runs: Sequence[Run], output: Path) -> list[dict[str, Any]]:
    """Collect what is done.

    Args:
        runs: the runs.
        output: their folder.

    Returns:
        One row per run and evaluation of which at least one seed is done: the run, how the model
        was tested, its iterations, and a list over seeds of each metric. "best AP" is that of the
        best evaluation on the way: what stopping there would have given, chosen by the test set.
    """
    rows = []
    for run in runs:
        for test in ("", *(run.tests or {})):
            row: dict[str, Any] = {"run": run.name, "test": test, "seeds": []}
            for seed in run.seeds:
                folder = output / run.name / f"seed{seed}"
                inference = folder / test / "inference"
                found = [inference / name for name in RESULTS if (inference / name).is_file()]
                if not found or not (folder / "model_final.pth").is_file():
                    continue
                curve = read_curve(folder)
                metrics = _kept_metrics(ROOT / run.truth, found[0])
                on_the_way = [] if test else [value for _, value in curve["AP"]]
                metrics["best AP"] = max([metrics["AP"], *on_the_way])
                metrics["loss_cls"] = curve["loss_cls"][-1][1]
                metrics["seconds per iteration"] = statistics.median(v for _, v in curve["time"])
                row["seeds"].append(seed)
                row["iterations"] = curve["total_loss"][-1][0]
                for name, value in metrics.items():
                    row.setdefault(name, []).append(value)
            if row["seeds"]:
                rows.append(row)
    return rows


def _kept_metrics(truth: Path, results: Path) -> dict[str, float]:
    """The metrics of a results file, which are computed once and kept beside it."""
    kept = results.with_name("average_precision.json")
    if not kept.is_file():
        metrics = average_precision(truth, results)
        kept.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return json.loads(kept.read_text(encoding="utf-8"))


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows of :func:`summarize` as a Markdown table, with the mean and each seed's value."""
    metrics = (
        *("AP", "best AP", "AP50", "agnostic AP", "agnostic AP50"),
        *("loss_cls", "seconds per iteration"),
    )
    lines = []
    for row in rows:
        cells = []
        for name in metrics:
            digits = 2 if name in ("loss_cls", "seconds per iteration") else 1
            values = " / ".join(f"{value:.{digits}f}" for value in row[name])
            mean = f"**{statistics.mean(row[name]):.{digits}f}**"
            cells.append(mean if len(row[name]) == 1 else f"{mean} ({values})")
        name = f"{row['run']}, {row['test']}" if row["test"] else row["run"]
        seeds = " ".join(map(str, row["seeds"]))
        lines.append([name, row["iterations"], seeds, *cells])
    headers = ["run", "iterations", "seeds", *metrics]
    return tabulate(lines, headers=headers, tablefmt="pipe", disable_numparse=True)


def draw(runs: Sequence[Run], output: Path, path: Path) -> None:
    """Draw AP and class loss of the runs over their iterations, with the spread over seeds.

    Args:
        runs: the runs; those without a curve are left out.
        output: their folder.
        path: image file to write.
    """
    figure, axes = plt.subplots(1, 2, figsize=(11, 4.5))
    for number, run in enumerate(runs):
        folders = [output / run.name / f"seed{seed}" for seed in run.seeds]
        curves = [read_curve(x) for x in folders if (x / "metrics.json").is_file()]
        for axis, name in zip(axes, ("AP", "loss_cls"), strict=True):
            points = [dict(curve[name]) for curve in curves if curve[name]]
            if not points:
                continue
            at = sorted(set().union(*points))
            values = [[x[i] for x in points if i in x] for i in at]
            colour = f"C{number % 10}"
            marker = "o" if name == "AP" else None
            means = [statistics.mean(x) for x in values]
            axis.plot(at, means, marker=marker, ms=3, color=colour, label=run.name)
            lowest, highest = [min(x) for x in values], [max(x) for x in values]
            axis.fill_between(at, lowest, highest, color=colour, alpha=0.2)
    for axis, title in zip(axes, ("AP", "loss_cls"), strict=True):
        axis.set_title(title)
        axis.set_xlabel("iteration")
        axis.grid(alpha=0.3)
    axes[1].set_yscale("log")
    if axes[1].get_legend_handles_labels()[0]:
        axes[1].legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    plt.close(figure)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run what is asked for and report on all that is done."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--runs", type=Path, default=RUNS, metavar="FILE", help="default: %(default)s"
    )
    parser.add_argument("--output", type=Path, default=Path("output/learning"), metavar="DIR")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="runs to do; default: all")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="SEED", help="only these seeds")
    parser.add_argument("--report", action="store_true", help="train nothing")
    args = parser.parse_args(argv)
    try:
        runs = load_runs(args.runs)
    except (OSError, ValueError, AttributeError, yaml.YAMLError) as error:
        parser.error(str(error))
    unknown = set(args.only or ()) - set(runs)
    if unknown:
        parser.error(f"--only: {', '.join(sorted(unknown))} not in {args.runs}: {', '.join(runs)}")
    output = args.output.resolve()
    for run in runs.values():
        if args.report or (args.only and run.name not in args.only):
            continue
        for seed in run.seeds:
            if args.seeds and seed not in args.seeds:
                continue
            print(f"{run.name}, seed {seed}", flush=True)
            try:
                train(run, seed, output)
            except subprocess.CalledProcessError as error:
                folder = output / run.name / f"seed{seed}"
                raise UserError(f"{error}; its log is run.log in {folder}") from error
    rows = summarize(list(runs.values()), output)
    if not rows:
        raise UserError(f"nothing is done yet in {output}")
    (output / "learning.json").write_text(json.dumps(rows, indent=2) + "\n", encoding="utf-8")
    table = format_table(rows)
    (output / "learning.md").write_text(table + "\n", encoding="utf-8")
    draw(list(runs.values()), output, output / "learning.png")
    print(f"{table}\n\n{output}/learning.{{md,json,png}}")


if __name__ == "__main__":
    sys.exit(main())
