"""Show where results go wrong: precision over recall, confused classes, the worst videos.

Results of videos in the YouTube-VIS format, or of images in COCO's:
    python tools/analyze_results.py --gt my/val.json --results output/my/inference/results.json \\
        --images my/JPEGImages --output errors

It writes precision_recall and confusion as images and CSV, videos.csv, the worst first, and with
--images the worst of them as drawn frames, annotated and found. view_data.py --ids draws any.
"""

import argparse
import csv
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tabulate import tabulate

from mobileinst_core.arguments import probability
from mobileinst_core.coco.videos import (
    image_results_as_videos,
    images_as_videos,
    is_video_file,
)
from mobileinst_core.command import command, needed_packages
from mobileinst_core.errors import UserError, naming
from mobileinst_core.files import read_json
from mobileinst_core.video.images import write_image
from mobileinst_core.ytvis.diagnosis import Diagnosis, VideoErrors, diagnose
from mobileinst_core.ytvis.results import load_ground_truth, load_results
from mobileinst_core.ytvis.viewer import DataViewer

with needed_packages():
    from matplotlib.figure import Figure

# Curves of classes in one image; the mean of all is always there.
MAX_CURVES = 12
NOTHING = "nothing"
# Videos, or images, that are drawn, and frames of each video.
WORST, FRAMES = 10, 5


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gt", type=Path, required=True, metavar="FILE", help="annotations")
    parser.add_argument("--results", type=Path, required=True, metavar="FILE", help="results")
    parser.add_argument(
        "--images", type=Path, metavar="DIR", help="draw the worst from this folder"
    )
    parser.add_argument("--output", type=Path, required=True, metavar="DIR", help="what to write")
    parser.add_argument(
        "--score", type=probability, help="of predictions (default: that of the best F1)"
    )
    return parser.parse_args(argv)


def compare(args: argparse.Namespace) -> tuple[Diagnosis, np.ndarray | None]:
    """Read both files and compare them; with --images, draw the worst."""
    content, entries = read_json(args.gt), read_json(args.results)
    if not isinstance(entries, list):
        raise UserError(f"{args.results} must be a list of results")
    of_images = not is_video_file(content)
    with naming(args.gt):
        content = images_as_videos(content) if of_images else content
        truth = load_ground_truth(content)
    if not truth.tracks:
        raise UserError(f"{args.gt} has no annotations to compare with")
    with naming(args.results):
        entries = image_results_as_videos(entries) if of_images else entries
        results = load_results(entries, truth)
        found = diagnose(truth, results, threshold=args.score)
    if args.images is None:
        return found, None
    viewer = DataViewer(content, args.images, results=results.entries(), min_score=found.threshold)
    return found, viewer.sheet([video.video_id for video in found.videos[:WORST]], FRAMES)


def write_curves(found: Diagnosis, folder: Path) -> None:
    """Draw and write precision over recall."""
    figure = Figure(figsize=(11, 4.5))
    axes = figure.subplots(1, len(found.precision), squeeze=False)
    rows = []
    for axis, (iou, precision) in zip(axes[0], found.precision.items(), strict=True):
        known = np.flatnonzero(~np.isnan(precision).all(0))
        best_first = sorted(known, key=lambda column: -precision[:, column].mean())
        for column in best_first:
            label = f"{found.class_names[column]} {100 * precision[:, column].mean():.0f}"
            if len(known) > 1 and len(known) <= MAX_CURVES:
                axis.plot(found.recall, precision[:, column], lw=1, label=label)
            for recall, value in zip(found.recall, precision[:, column], strict=True):
                rows.append([iou, found.class_names[column], f"{recall:.2f}", f"{value:.4f}"])
        mean = precision[:, known].mean(1)
        axis.plot(found.recall, mean, "k", lw=2, label=f"mean {100 * mean.mean():.1f}")
        axis.set(title=f"IoU from {iou:g}", xlabel="recall", ylabel="precision")
        axis.set(xlim=(0, 1), ylim=(0, 1.02))
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    _save(figure, folder / "precision_recall.png")
    _write_csv(folder / "precision_recall.csv", ["IoU", "class", "recall", "precision"], rows)


def write_confusion(found: Diagnosis, folder: Path) -> None:
    """Draw and write the confusion matrix; classes that never occur are not drawn."""
    names = [*found.class_names, NOTHING]
    rows = [[name, *row] for name, row in zip(names, found.confusion.tolist(), strict=True)]
    _write_csv(folder / "confusion.csv", ["annotated", *names], rows)
    kept = np.flatnonzero(found.confusion.sum(0) + found.confusion.sum(1))
    matrix = found.confusion[np.ix_(kept, kept)]
    size = 3 + 0.45 * len(kept)
    figure = Figure(figsize=(size, size))
    axis = figure.subplots()
    shares = matrix / matrix.sum(1, keepdims=True).clip(1)
    axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        if count:
            color = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    labels = [names[i] for i in kept]
    axis.set_xticks(range(len(kept)), labels, rotation=90)
    axis.set_yticks(range(len(kept)), labels)
    axis.set(xlabel="predicted", ylabel="annotated", title=f"score from {found.threshold:.2f}")
    _save(figure, folder / "confusion.png")


def write_videos(found: Diagnosis, folder: Path) -> None:
    """Write what was found in each video, and print the worst."""
    rows = [[*video[:-1], f"{video.f1:.3f}"] for video in found.videos]
    _write_csv(folder / "videos.csv", list(VideoErrors._fields), rows)
    print(tabulate(rows[:10], headers=VideoErrors._fields))


def _save(figure: Figure, path: Path) -> None:
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def _write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(rows)


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Parse the command line, compare and write."""
    args = parse_args(argv)
    found, worst = compare(args)
    args.output.mkdir(parents=True, exist_ok=True)
    write_curves(found, args.output)
    write_confusion(found, args.output)
    chosen = "given" if args.score is not None else "that of the best F1"
    print(f"Predictions from a score of {found.threshold:.3f} on ({chosen}): F1 {found.f1:.3f}")
    write_videos(found, args.output)
    names = "precision_recall, confusion, videos.csv"
    if worst is not None:
        write_image(args.output / "worst.jpg", worst, overwrite=True)
        names += ", worst.jpg"
    print(f"Written to {args.output}: {names}")


if __name__ == "__main__":
    sys.exit(main())
