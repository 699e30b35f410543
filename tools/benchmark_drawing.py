"""Measure how long the drawing of tracked objects takes, on one core, and beside Detectron2's.

Example::

    python tools/benchmark_drawing.py --size 720 1280 --objects 5
"""

import argparse
import sys
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from detectron2.structures import Instances

from mobileinst_d2.benchmark.machine import describe_machine
from mobileinst_d2.benchmark.medians import median_seconds
from mobileinst_d2.benchmark.table import markdown_table
from mobileinst_d2.utils.arguments import whole_number
from mobileinst_d2.utils.detectron2_visualizer import Detectron2Visualizer
from mobileinst_d2.utils.visualizer import TrackVisualizer

CLASSES = ("person", "dog", "car", "skateboard", "tennis_racket")
# Share of the frame that all objects cover together, before they hide each other.
COVERAGE = 0.4


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    count = whole_number(1)
    parser.add_argument(
        "--size",
        nargs=2,
        type=whole_number(32),
        metavar=("H", "W"),
        default=(720, 1280),
        help="of the frame, default 720 1280",
    )
    parser.add_argument("--objects", type=count, default=5, metavar="N", help="default 5")
    parser.add_argument("--repeats", type=count, default=50, metavar="N", help="default 50")
    return parser.parse_args(argv)


def make_frame(height: int, width: int, num_objects: int) -> tuple[np.ndarray, Instances]:
    """A picture of noise (H, W, 3) and wavy objects on it, always the same."""
    generator = np.random.default_rng(0)
    frame = generator.integers(0, 256, (height, width, 3), np.uint8)
    rows, columns = np.mgrid[:height, :width]
    radius = (COVERAGE * height * width / num_objects / np.pi) ** 0.5
    masks = np.empty((num_objects, height, width), bool)
    for mask in masks:
        y, x = generator.uniform(0.2, 0.8, 2) * (height, width)
        waves = 1 + 0.2 * np.sin(9 * np.arctan2(rows - y, columns - x))
        np.less(np.hypot(rows - y, columns - x), radius * waves, out=mask)
    instances = Instances((height, width), pred_masks=torch.from_numpy(masks))
    instances.pred_classes = torch.arange(num_objects) % len(CLASSES)
    instances.scores = torch.linspace(0.9, 0.5, num_objects)
    instances.ID = list(range(1, num_objects + 1))
    return frame, instances


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status is 0."""
    args = parse_args(argv)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    height, width = args.size
    frame, instances = make_frame(height, width, args.objects)
    fast, slow = TrackVisualizer(CLASSES), Detectron2Visualizer(CLASSES)
    own = median_seconds({"own": lambda: fast.draw(frame, instances)}, args.repeats)["own"]
    # It is so slow that a few times must do.
    few = max(1, args.repeats // 10)
    theirs = median_seconds({"theirs": lambda: slow.draw(frame, instances)}, few)["theirs"]
    print(f"{width}x{height}, {args.objects} objects, one core, medians; {describe_machine()}")
    rows = [
        ("TrackVisualizer", f"{1000 * own:.1f}", "1.0"),
        ("Detectron2's Visualizer", f"{1000 * theirs:.1f}", f"{theirs / own:.1f}"),
    ]
    print(markdown_table(("drawn by", "ms per frame", "ratio"), rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
