"""Measure how long the evaluation of a file of results takes, beside the plain way.

A ground truth and results of moving blobs are generated. Both ways read the two files; the plain
one compares every pair of tracks of a category frame by frame and matches in loops. It makes AP and
AR100 only, without areas and checks; the two must be the same. The ground truth is also read with
lists of run lengths in place of compressed text, as YouTube-VIS has it.

Example::

    python benchmarks/evaluation.py --videos 100
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from pycocotools import mask as mask_util
from reporting import add_counts, describe_machine, markdown_table, median_seconds

from mobileinst_core.command import command
from mobileinst_core.ytvis.evaluate import evaluate_ytvis

NUM_CATEGORIES = 40
# Share of predictions that follow an annotated object, and of those, of the right category.
FOLLOWING, RIGHT = 0.7, 0.8
IOU_THRESHOLDS = np.linspace(0.5, 0.95, 10).tolist()
RECALL_LEVELS = np.linspace(0, 1, 101).tolist()


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    counts = (
        ("videos", 100, "videos"),
        ("frames", 30, "frames of a video"),
        ("tracks", 5, "annotated tracks of a video"),
        ("categories", 2, f"categories that they have, of {NUM_CATEGORIES}"),
        ("predictions", 15, "predicted tracks of a video"),
        ("repeats", 5, "measurements of each way"),
    )
    add_counts(parser, counts, size=(720, 1280), of="a frame")
    args = parser.parse_args(argv)
    if args.categories > NUM_CATEGORIES:
        parser.error(f"--categories {args.categories} is above {NUM_CATEGORIES}")
    return args


class Blob:
    """A moving object with a wavy outline."""

    def __init__(self, generator: np.random.Generator, size: Sequence[int]) -> None:
        self.generator = generator
        self.size = tuple(size)
        self.center = generator.uniform(0.15, 0.85, 2) * self.size
        self.speed = generator.normal(0, 0.005, 2) * self.size
        self.radius = np.exp(generator.uniform(np.log(0.04), np.log(0.35))) * min(size)
        angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
        waves = sum(generator.normal(0, 0.35 / k) * np.cos(k * angles + k) for k in range(2, 9))
        self.outline = np.clip(1 + waves, 0.2, None) * [np.sin(angles), np.cos(angles)]

    def mask(self, frame: int, noise: float) -> dict | None:
        """Its compressed mask, displaced and dented by noise relative to its radius."""
        shift, dents = self.generator.normal(0, noise, 2), self.generator.normal(1, noise / 4, 64)
        center = self.center + self.speed * frame + self.radius * shift
        points = center[:, None] + self.radius * self.outline * dents
        points = np.clip(points, 0, np.array(self.size)[:, None])
        polygon = points[::-1].T.ravel().tolist()
        code = mask_util.merge(mask_util.frPyObjects([polygon], *self.size))
        if not mask_util.area(code):
            return None
        return {"size": list(self.size), "counts": code["counts"].decode()}


def run_lengths(mask: dict) -> list[int]:
    """The run lengths of a compressed mask."""
    pixels = np.concatenate(([0], mask_util.decode(mask).ravel(order="F")))
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    return np.diff([0, *changes, len(pixels) - 1]).tolist()


def make_files(folder: Path, args: argparse.Namespace) -> tuple[Path, Path]:
    """Write a ground truth and results, always the same for the same arguments."""
    generator = np.random.default_rng(0)
    height, width = args.size
    videos, annotations, results = [], [], []
    for video_id in range(1, args.videos + 1):
        shape = {"height": height, "width": width, "length": args.frames}
        videos.append({"id": video_id, **shape})
        own = generator.choice(NUM_CATEGORIES, args.categories, replace=False) + 1
        objects = []
        for _ in range(args.tracks):
            objects.append((Blob(generator, args.size), int(generator.choice(own))))
            masks = [objects[-1][0].mask(frame, 0.01) for frame in range(args.frames)]
            track = {"video_id": video_id, "category_id": objects[-1][1], "segmentations": masks}
            annotations.append({"id": len(annotations) + 1, "iscrowd": 0, **track})
        for number in range(args.predictions):
            blob, category = objects[number % len(objects)]
            if generator.random() > FOLLOWING:
                blob = Blob(generator, args.size)
            if generator.random() > RIGHT:
                category = int(generator.integers(1, NUM_CATEGORIES + 1))
            noise = abs(generator.normal(0, 0.08))
            masks = [blob.mask(frame, noise) for frame in range(args.frames)]
            track = {"video_id": video_id, "category_id": category, "segmentations": masks}
            results.append({**track, "score": generator.random()})
    categories = [{"id": n, "name": f"class {n}"} for n in range(1, NUM_CATEGORIES + 1)]
    gt = {"videos": videos, "categories": categories, "annotations": annotations}
    files = folder / "gt.json", folder / "results.json"
    for path, content in zip(files, (gt, results), strict=True):
        path.write_text(json.dumps(content))
    return files


def with_lists(gt: Path) -> Path:
    """Write a copy of a ground truth with lists of run lengths."""
    content = json.loads(gt.read_text())
    for track in content["annotations"]:
        for mask in filter(None, track["segmentations"]):
            mask["counts"] = run_lengths(mask)
    path = gt.with_name("gt_lists.json")
    path.write_text(json.dumps(content))
    return path


def evaluate_plainly(gt: Path, results: Path) -> tuple[float, float]:
    """AP and AR100 in percent, from the definition, for files as `make_files` writes them."""
    truth = json.loads(gt.read_text())
    groups = defaultdict(lambda: ([], []))
    for part, tracks in enumerate((json.loads(results.read_text()), truth["annotations"])):
        for track in tracks:
            groups[track["category_id"], track["video_id"]][part].append(track)
    precisions, recalls = [], []
    for category in truth["categories"]:
        videos = []
        for video in truth["videos"]:
            dts, gts = groups[category["id"], video["id"]]
            dts = sorted(dts, key=lambda track: -track["score"])[:100]
            videos.append((dts, gts, [[plain_iou(d, g) for g in gts] for d in dts]))
        positives = sum(len(gts) for _, gts, _ in videos)
        for threshold in IOU_THRESHOLDS if positives else ():
            precision, recall = plain_curve(videos, positives, threshold)
            precisions.append(precision)
            recalls.append(recall)
    return 100 * statistics.fmean(precisions), 100 * statistics.fmean(recalls)


def plain_iou(first: dict, second: dict) -> float:
    """IoU of two tracks, from the intersections and unions of their frames."""
    shared = covered = 0
    for a, b in zip(first["segmentations"], second["segmentations"], strict=True):
        if a and b:
            shared += int(mask_util.area(mask_util.merge([a, b], True)))
            covered += int(mask_util.area(mask_util.merge([a, b], False)))
        elif a or b:
            covered += int(mask_util.area(a or b))
    return shared / covered if covered else 0.0


def plain_curve(videos: list[tuple], positives: int, threshold: float) -> tuple[float, float]:
    """Average precision and recall of one category at one threshold."""
    outcomes = []
    for dts, gts, ious in videos:
        free = set(range(len(gts)))
        for dt, row in zip(dts, ious, strict=True):
            best = max((g for g in free if row[g] >= threshold), key=row.__getitem__, default=None)
            free.discard(best)
            outcomes.append((dt["score"], best is not None))
    outcomes.sort(key=lambda outcome: -outcome[0])
    found, curve = 0, []
    for rank, (_, is_found) in enumerate(outcomes, 1):
        found += is_found
        curve.append((found / positives, found / rank))
    best_from = 0.0
    for place in range(len(curve) - 1, -1, -1):
        best_from = max(best_from, curve[place][1])
        curve[place] = (curve[place][0], best_from)
    interpolated = [next((p for r, p in curve if r >= level), 0.0) for level in RECALL_LEVELS]
    return statistics.fmean(interpolated), found / positives


@command
def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status is not 0 if the two ways differ."""
    args = parse_args(argv)
    with tempfile.TemporaryDirectory() as folder:
        files = make_files(Path(folder), args)
        module = "mobileinst_d2.evaluation.ytvis"
        command = [sys.executable, "-m", module, "--gt", files[0], "--results", files[1]]
        lists = with_lists(files[0])
        ways = {
            "evaluate_ytvis": lambda: evaluate_ytvis(*files),
            "the same, from lists of run lengths": lambda: evaluate_ytvis(lists, files[1]),
            "the command, with its start": lambda: subprocess.run(
                command, check=True, capture_output=True
            ),
            "plain loops": lambda: evaluate_plainly(*files),
        }
        summary = evaluate_ytvis(*files).summary
        found, expected = (summary["AP"], summary["AR100"]), evaluate_plainly(*files)
        if repr(evaluate_ytvis(lists, files[1]).summary) != repr(summary):  # some are nan
            print("lists of run lengths give other results", file=sys.stderr)
            return 1
        if not np.allclose(found, expected, rtol=0, atol=1e-9):
            print(f"AP and AR100 differ: {found}, but {expected} by plain loops", file=sys.stderr)
            return 1
        seconds = median_seconds(ways, args.repeats)
    height, width = args.size
    print(
        f"{args.videos} videos of {args.frames} frames {width}x{height}, each with {args.tracks} "
        f"annotated tracks of {args.categories} classes and {args.predictions} predicted ones; "
        f"medians; {describe_machine()}"
    )
    plain = seconds["plain loops"]
    rows = [(name, f"{own:.2f}", f"{plain / own:.1f}") for name, own in seconds.items()]
    print(markdown_table(("evaluated by", "seconds", "plain loops take ... times as long"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
