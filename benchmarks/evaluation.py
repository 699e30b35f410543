"""Measure how long the evaluation of a file of results takes, beside the plain way.

A ground truth and results of moving blobs are generated. Both ways read the two files; the plain
one compares every pair of tracks of a category frame by frame and matches in loops. It makes AP and
AR100 only, without areas and checks; the two must be the same. The ground truth is also read with
lists of run lengths, as YouTube-VIS has it, and with polygons in place of compressed text. Times
are CPU times.

Example::

    python benchmarks/evaluation.py --videos 100
"""

import argparse
import json
import statistics
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
        """Its compressed mask, see :meth:`polygon`; None if it has no pixel."""
        return compressed([self.polygon(frame, noise)], self.size)

    def polygon(self, frame: int, noise: float) -> list[float]:
        """Its outline, displaced and dented by noise relative to its radius."""
        shift, dents = self.generator.normal(0, noise, 2), self.generator.normal(1, noise / 4, 64)
        center = self.center + self.speed * frame + self.radius * shift
        points = center[:, None] + self.radius * self.outline * dents
        points = np.clip(points, 0, np.array(self.size)[:, None])
        return points[::-1].T.ravel().tolist()


def compressed(polygons: list[list[float]], size: Sequence[int]) -> dict | None:
    """The compressed mask of polygons; None if it has no pixel."""
    code = mask_util.merge(mask_util.frPyObjects(polygons, *size))
    if not mask_util.area(code):
        return None
    return {"size": list(size), "counts": code["counts"].decode()}


def run_lengths(mask: dict) -> list[int]:
    """The run lengths of a compressed mask."""
    pixels = np.concatenate(([0], mask_util.decode(mask).ravel(order="F")))
    changes = np.flatnonzero(pixels[1:] != pixels[:-1])
    return np.diff([0, *changes, len(pixels) - 1]).tolist()


def make_files(folder: Path, args: argparse.Namespace) -> tuple[dict[str, Path], Path]:
    """Write ground truths, by the encoding of their masks, and results; always the same ones."""
    generator = np.random.default_rng(0)
    height, width = args.size
    videos, annotations, results = [], [], []
    for video_id in range(1, args.videos + 1):
        shape = {"height": height, "width": width, "length": args.frames}
        videos.append({"id": video_id, **shape})
        own = generator.choice(NUM_CATEGORIES, args.categories, replace=False) + 1
        objects = []
        for _ in range(args.tracks):
            blob, category = Blob(generator, args.size), int(generator.choice(own))
            objects.append((blob, category))
            outlines = [[blob.polygon(frame, 0.01)] for frame in range(args.frames)]
            track = {"video_id": video_id, "category_id": category, "segmentations": outlines}
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
    ground_truths = {}
    for number, (name, encode) in enumerate(ENCODINGS.items()):
        tracks = [
            {**track, "segmentations": [encode(x, args.size) for x in track["segmentations"]]}
            for track in annotations
        ]
        content = {"videos": videos, "categories": categories, "annotations": tracks}
        ground_truths[name] = folder / f"gt_{number}.json"
        ground_truths[name].write_text(json.dumps(content))
    path = folder / "results.json"
    path.write_text(json.dumps(results))
    return ground_truths, path


def with_list(polygons: list[list[float]], size: Sequence[int]) -> dict | None:
    """The mask of polygons with a list of run lengths; None if it has no pixel."""
    mask = compressed(polygons, size)
    return mask and {**mask, "counts": run_lengths(mask)}


# How masks of polygons are annotated.
ENCODINGS = {
    "compressed text": compressed,
    "lists of integers": with_list,
    "polygons": lambda polygons, size: polygons if compressed(polygons, size) else None,
}


def evaluate_plainly(gt: Path, results: Path) -> tuple[float, float]:
    """AP and AR100 in percent, from the definition, for files as `make_files` writes them."""
    truth = json.loads(gt.read_text())
    size = truth["videos"][0]["height"], truth["videos"][0]["width"]
    for track in truth["annotations"]:
        for frame, mask in enumerate(track["segmentations"]):
            if isinstance(mask, list):
                mask = compressed(mask, size)
            elif mask and isinstance(mask["counts"], list):
                mask = mask_util.frPyObjects(mask, *size)
            track["segmentations"][frame] = mask
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
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        ground_truths, results = make_files(Path(folder), args)
        for name, gt in ground_truths.items():
            summary, expected = evaluate_ytvis(gt, results).summary, evaluate_plainly(gt, results)
            if not np.allclose((summary["AP"], summary["AR100"]), expected, rtol=0, atol=1e-9):
                print(f"{name}: AP and AR100 differ from {expected} by loops", file=sys.stderr)
                return 1
            ways = {
                "evaluate_ytvis": lambda gt=gt: evaluate_ytvis(gt, results),
                "plain loops": lambda gt=gt: evaluate_plainly(gt, results),
            }
            own, plain = median_seconds(ways, args.repeats).values()
            rows.append((name, f"{own:.2f}", f"{plain:.2f}", f"{plain / own:.1f}"))
    height, width = args.size
    print(
        f"{args.videos} videos of {args.frames} frames {width}x{height}, each with {args.tracks} "
        f"annotated tracks of {args.categories} classes and {args.predictions} predicted ones; "
        f"medians of {args.repeats}; {describe_machine()}\n"
    )
    headers = ("annotated as", "evaluate_ytvis, CPU s", "plain loops, CPU s", "ratio")
    print(markdown_table(headers, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
