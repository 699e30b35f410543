"""Draw a loss of several trainings in one picture; print its mean at the beginning and at the end.

Examples::

    python tools/plot_losses.py output/demo/image output/demo/video --output losses.png
    python tools/plot_losses.py a b --labels plain passing --key loss_mask --output masks.png
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from tabulate import tabulate

# Iterations and values of a training, in order.
Curve = tuple[np.ndarray, np.ndarray]


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="OUTPUT_DIR of a training, or a metrics.json",
    )
    parser.add_argument("--key", default="total_loss", help="what to draw (default: %(default)s)")
    parser.add_argument("--labels", nargs="+", help="names of the runs (default: their paths)")
    parser.add_argument(
        "--window",
        type=int,
        default=5,
        help="entries of a mean, in the table and along the curve (default: %(default)s)",
    )
    parser.add_argument(
        "--output", type=Path, required=True, metavar="FILE", help="picture to write, as .png"
    )
    args = parser.parse_args(argv)
    args.labels = args.labels or [str(run) for run in args.runs]
    if len(args.labels) != len(args.runs):
        parser.error(f"--labels: {len(args.labels)} names for {len(args.runs)} runs")
    if len(set(args.labels)) < len(args.labels):
        parser.error("two runs have the same name: tell them apart with --labels")
    if args.window < 1:
        parser.error(f"--window is {args.window}, it must be at least 1")
    if args.output.suffix[1:].lower() not in Figure().canvas.get_supported_filetypes():
        parser.error(f"--output {args.output}: no kind of picture, name a .png")
    return args


def read_entries(run: Path) -> list[dict]:
    """What Detectron2 wrote about a training, in order.

    Args:
        run: the folder of a training, or its ``metrics.json``.

    Returns:
        The lines that can be read. A kill may cut one off, which is said on stderr.
    """
    path = run / "metrics.json" if run.is_dir() else run
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise SystemExit(f"error: cannot read {path}: {error.strerror}") from error
    entries = []
    for number, line in enumerate(lines, 1):
        try:
            entry = json.loads(line)
            entry["iteration"] += 0  # a mapping with a number
        except (ValueError, TypeError, KeyError):
            print(f"warning: {path}: line {number} is damaged, left out", file=sys.stderr)
        else:
            entries.append(entry)
    if not entries:
        raise SystemExit(f"error: {path} holds no metrics")
    return entries


def curve_of(run: Path, key: str) -> Curve:
    """The values of a key. Those that an interruption lost are left out, as the run left them."""
    entries = read_entries(run)
    points: list[tuple[int, float]] = []
    for entry in entries:
        if key not in entry:
            continue
        # A resumed training goes on from an earlier iteration.
        while points and points[-1][0] >= entry["iteration"]:
            points.pop()
        points.append((entry["iteration"], entry[key]))
    if not points:
        keys = sorted({name for entry in entries for name in entry} - {"iteration"})
        raise SystemExit(f"error: {run} has no {key!r}; it has {', '.join(keys)}")
    iterations, values = zip(*points, strict=True)
    return np.array(iterations), np.array(values, dtype=float)


def moving_mean(values: np.ndarray, window: int) -> np.ndarray:
    """Mean of each value with those before it, as many as the window holds and there are."""
    ends = range(1, len(values) + 1)
    return np.array([values[max(end - window, 0) : end].mean() for end in ends])


def draw(curves: dict[str, Curve], key: str, window: int, output: Path) -> None:
    """Write a picture of all curves: pale as they are, and their moving means."""
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    for label, (iterations, values) in curves.items():
        (line,) = axes.plot(iterations, moving_mean(values, window), label=label)
        axes.plot(iterations, values, color=line.get_color(), alpha=0.25, linewidth=0.8)
    axes.set(xlabel="iteration", ylabel=key)
    axes.grid(alpha=0.3)
    axes.legend()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(output, dpi=150)
    except OSError as error:
        raise SystemExit(f"error: cannot write --output {output}: {error.strerror}") from error


def summarise(curves: dict[str, Curve], window: int) -> str:
    """A table of the means over the first and the last entries of each run."""
    rows = [
        (label, len(values), iterations[-1] + 1, values[:window].mean(), values[-window:].mean())
        for label, (iterations, values) in curves.items()
    ]
    headers = ["run", "entries", "iterations", f"mean of first {window}", f"of last {window}"]
    return tabulate(rows, headers=headers, floatfmt=".4f")


def main(argv: Sequence[str] | None = None) -> None:
    """Read, draw and print."""
    args = parse_args(argv)
    curves = {
        label: curve_of(run, args.key) for label, run in zip(args.labels, args.runs, strict=True)
    }
    draw(curves, args.key, args.window, args.output)
    print(args.key)
    print(summarise(curves, args.window))


if __name__ == "__main__":
    main()
