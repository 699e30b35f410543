"""YouTube-VIS AP of a file of results, as a function and as a command.

Usage::

    python -m mobileinst_core.ytvis.evaluate --gt GT.json --results RESULTS.json

prints the metrics as JSON, in percent, with ``null`` where the ground truth has no track to count.
With ``--zip FILE`` the command also writes the archive that the evaluation servers of the public
data sets take; then ``--gt`` may be a file without annotations, as theirs are.
"""

import argparse
import json
import logging
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

from tabulate import tabulate

from mobileinst_core.command import command
from mobileinst_core.errors import UserError

from .metric import TrackEval
from .reading import collection_paused
from .results import GroundTruth, Results, load_ground_truth, load_results
from .submission import write_archive

__all__ = ["VideoMetrics", "class_table", "evaluate_ytvis", "main"]

logger = logging.getLogger(__name__)

# Classes side by side in the table of results.
_TABLE_COLUMNS = 3
_STYLE = {"tablefmt": "pipe", "floatfmt": ".3f", "numalign": "left"}


@dataclass(frozen=True)
class VideoMetrics:
    """Metrics in percent; NaN where the ground truth has no track to count.

    Attributes:
        summary: AP (over IoU 0.5 to 0.95), AP50, AP75, APs, APm and APl (tracks with a mean area
            up to 128^2, 256^2 and more pixels), AR1, AR10 and AR100 (recall with as many tracks
            per video and category).
        per_class: AP by class name; nan for a class of which there is no ground truth.
    """

    summary: dict[str, float]
    per_class: dict[str, float]

    def table(self) -> str:
        """Both parts as text tables; of the classes those that occur."""
        classes = {name: ap for name, ap in self.per_class.items() if not math.isnan(ap)}
        summary = tabulate([list(self.summary.values())], headers=list(self.summary), **_STYLE)
        return f"{summary}\n\n{class_table(classes)}"


def class_table(per_class: Mapping[str, float]) -> str:
    """AP by class name as a text table, several classes in a row."""
    cells = list(chain.from_iterable(per_class.items()))
    width = 2 * _TABLE_COLUMNS
    return tabulate(
        [cells[start : start + width] for start in range(0, len(cells), width)],
        headers=["class", "AP"] * min(_TABLE_COLUMNS, len(per_class)),
        **_STYLE,
    )


def evaluate_ytvis(
    gt: str | PathLike[str] | dict[str, Any] | GroundTruth,
    results: str | PathLike[str] | list[dict[str, Any]] | Results,
) -> VideoMetrics:
    """Score predicted tracks against a ground truth, as the official evaluation does.

    Videos without a prediction count as missed. Without any prediction all defined metrics are 0.

    Args:
        gt: ground truth in the YouTube-VIS format: path, content, or already loaded.
        results: predicted tracks in the format of the evaluation servers: path, content, or
            already loaded.

    Returns:
        The metrics.

    Raises:
        UserError: the ground truth has no annotations, or a file cannot be read or is malformed.
    """
    with collection_paused():
        truth = gt if isinstance(gt, GroundTruth) else load_ground_truth(gt)
        if not truth.tracks:
            raise UserError(
                "the ground truth has no annotations, as those of public validation and test "
                "sets; such results can only be scored by the evaluation server of the data set"
            )
        if not isinstance(results, Results):
            results = load_results(results, truth)
        evaluation = TrackEval(truth, results)
    names = _unique_names(truth.categories)
    per_class = {names[key]: value for key, value in evaluation.ap_per_category().items()}
    return VideoMetrics(evaluation.summary(), per_class)


def _unique_names(categories: dict[int, str]) -> dict[int, str]:
    """Class names by category id; those used twice get their id."""
    names = list(categories.values())
    return {
        key: name if names.count(name) == 1 else f"{name} ({key})"
        for key, name in categories.items()
    }


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Run the command.

    Args:
        argv: arguments without the program's name; those of the process by default.
    """
    parser = argparse.ArgumentParser(
        prog="python -m mobileinst_core.ytvis.evaluate",
        description="Score predicted tracks with the metric of YouTube-VIS, in percent.",
    )
    parser.add_argument("--gt", required=True, help="ground truth, YouTube-VIS JSON")
    parser.add_argument("--results", required=True, help="predicted tracks, results.json")
    parser.add_argument("--per-class", action="store_true", help="add the AP of every class")
    parser.add_argument("--out", help="file to write the metrics to; standard output by default")
    parser.add_argument(
        "--zip",
        metavar="FILE",
        help="write the results as an archive for an evaluation server; without annotations in "
        "--gt that is all",
    )
    args = parser.parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s: %(message)s")
    with collection_paused():
        truth = load_ground_truth(args.gt)
        results = load_results(args.results, truth)
        if args.zip:
            entries = results.entries()
            path = write_archive(entries, args.zip)
            logger.info("Saved %d predicted tracks to %s", len(entries), path)
            if not truth.tracks:
                return
        metrics = evaluate_ytvis(truth, results)
    logger.info("Results:\n%s", metrics.table())
    content = _without_nan(metrics.summary)
    if args.per_class:
        content["per_class"] = _without_nan(metrics.per_class)
    text = json.dumps(content, indent=2) + "\n"
    if args.out is None:
        sys.stdout.write(text)
    else:
        Path(args.out).parent.mkdir(parents=True, exist_ok=True)
        Path(args.out).write_text(text, encoding="utf-8")


def _without_nan(metrics: dict[str, float]) -> dict[str, float | None]:
    return {name: None if math.isnan(value) else value for name, value in metrics.items()}


if __name__ == "__main__":
    sys.exit(main())
