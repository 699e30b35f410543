"""Measure the ways in which masks get the original size, side by side, on one thread.

They are values of TEST.MASK_PASTE. Masks are blobs that cover about a fifth of the image. Times
are medians of processor time, the ways measured in turn: with maskness, choice and boxes, from
logits to instances ("masks") or to run-length codes ("RLE").

Example::

    python tools/benchmark_postprocess.py --input 640 640 --original 480 640 --json masks.json
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

# NumPy reads it when it is loaded.
os.environ["OMP_NUM_THREADS"] = "1"

import cv2
import numpy as np
import torch
from tabulate import tabulate

from mobileinst_core.arguments import whole_number
from mobileinst_core.files import write_json
from mobileinst_core.masks.crop_rle import encode_crop
from mobileinst_d2.benchmark.machine import describe_machine
from mobileinst_d2.benchmark.medians import median_seconds
from mobileinst_d2.modeling.postprocess import (
    MASK_FEATURE_STRIDE,
    MASK_PASTES,
    predict_instances,
    read_masks,
)

THRESHOLD = 0.45
COVERAGE = 0.19  # of the image by a mask, on average


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, count = parser.add_argument, whole_number(1)
    size = {"nargs": 2, "type": count, "metavar": ("H", "W")}
    add("--input", **size, default=(640, 640), help="of the network, default 640 640")
    add("--image", **size, help="of the image inside it; default: as large as fits")
    add("--original", **size, default=(480, 640), help="of the masks, default 480 640")
    add("--masks", nargs="+", type=count, default=[100, 20, 10], help="default 100 20 10")
    add("--repeats", type=count, default=15, metavar="N", help="default 15")
    add("--json", type=Path, metavar="FILE", help="also write all numbers")
    args = parser.parse_args(argv)
    if any(side % MASK_FEATURE_STRIDE for side in args.input):
        parser.error(f"--input {args.input}: both sides must be multiples of {MASK_FEATURE_STRIDE}")
    if args.image is None:
        scale = min(x / y for x, y in zip(args.input, args.original, strict=True))
        args.image = [max(1, round(scale * side)) for side in args.original]
    if any(x > y for x, y in zip(args.image, args.input, strict=True)):
        parser.error(f"--image {args.image} is larger than --input {args.input}")
    return args


def make_logits(
    count: int, input_size: tuple[int, int], image_size: tuple[int, int]
) -> torch.Tensor:
    """Logits (count, H/8, W/8) of wavy blobs in an image inside the input, always the same."""
    generator = np.random.default_rng(0)
    height, width = (side // MASK_FEATURE_STRIDE for side in input_size)
    rows, columns = np.mgrid[:height, :width]
    image = np.array(image_size) / MASK_FEATURE_STRIDE
    logits = np.empty((count, height, width), np.float32)
    for target in logits:
        radius = (COVERAGE * generator.uniform(0.3, 1.9) * image.prod() / np.pi) ** 0.5
        y, x = generator.uniform(0.25, 0.75, 2) * image
        phase = generator.uniform(0, 2 * np.pi)
        edge = 1 + 0.15 * np.sin(5 * np.arctan2(rows - y, columns - x) + phase)
        target[:] = 1.5 * (radius * edge - np.hypot(rows - y, columns - x))
        target += generator.normal(0, 0.3, target.shape)
    return torch.from_numpy(logits.clip(-12, 12))


def predict(
    mask_paste: str, logits: torch.Tensor, image_size: tuple[int, int], size: tuple[int, int]
) -> torch.Tensor:
    """From logits to the masks of instances."""
    scores = torch.linspace(0.9, 0.1, len(logits))[:, None]
    return predict_instances(
        scores,
        logits,
        image_size,
        size,
        score_threshold=0.0,
        mask_threshold=THRESHOLD,
        mask_rescore=True,
        max_detections=len(logits),
        mask_paste=mask_paste,
    ).pred_masks


def encode(
    mask_paste: str, logits: torch.Tensor, image_size: tuple[int, int], size: tuple[int, int]
) -> list[dict]:
    """From logits to run-length codes, as whole videos are predicted."""
    masks = read_masks(logits, THRESHOLD, mask_paste)
    masks.quality()
    crops = masks.crops(torch.arange(len(logits)), image_size, size)
    return [encode_crop(*crop, size) for crop in crops if crop is not None]


def overlaps(
    logits: torch.Tensor, image_size: tuple[int, int], size: tuple[int, int]
) -> torch.Tensor:
    """IoU of each mask with the published one."""
    full = []
    for mask_paste in MASK_PASTES:
        pasted = read_masks(logits, THRESHOLD, mask_paste).paste(
            torch.arange(len(logits)), image_size, size
        )
        masks = torch.zeros((len(logits), *size), dtype=torch.bool)
        masks[pasted.shown] = pasted.masks
        full.append(masks)
    both, either = full[0] & full[1], full[0] | full[1]
    areas = either.flatten(1).sum(1)
    return torch.where(areas > 0, both.flatten(1).sum(1) / areas, 1.0)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; the exit status is 0."""
    args = parse_args(argv)
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    image_size, size = tuple(args.image), tuple(args.original)
    logits = make_logits(max(args.masks), args.input, image_size)
    iou = overlaps(logits, image_size, size)
    content = {
        "machine": describe_machine(),
        "input": list(args.input),
        "image": list(image_size),
        "original": list(size),
        "iou": {"mean": iou.mean().item(), "min": iou.min().item()},
        "seconds": [],
    }
    rows = []
    for count in args.masks:
        for result, function in (("masks", predict), ("RLE", encode)):
            calls = {
                name: partial(function, name, logits[:count], image_size, size)
                for name in MASK_PASTES
            }
            seconds = median_seconds(calls, args.repeats, time.process_time)
            content["seconds"].append({"masks": count, "result": result, **seconds})
            times = [f"{1000 * seconds[name]:.1f}" for name in ("published", "box")]
            ratio = seconds["published"] / max(seconds["box"], 1e-9)
            rows.append((str(count), result, *times, f"{ratio:.1f}"))
    print(
        f"input {args.input[0]}x{args.input[1]}, image {image_size[0]}x{image_size[1]}, "
        f"original {size[0]}x{size[1]}, one thread; {content['machine']}\n"
        f"IoU with the published masks: mean {iou.mean():.6f}, minimum {iou.min():.6f}"
    )
    headers = ("masks", "result", "published ms", "box ms", "ratio")
    align = ("right", "left", "right", "right", "right")
    print(tabulate(rows, headers, tablefmt="github", colalign=align, disable_numparse=True))
    if args.json:
        write_json(args.json, content)
    return 0


if __name__ == "__main__":
    sys.exit(main())
