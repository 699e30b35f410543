"""Measure how long frames take until the network gets them, beside Pillow's resize.

Both make the network's image (3, h, w) in RGB of a frame in BGR, in turn and in one thread. Told
are medians of CPU time, their ratio, and how many bytes differ.

Example::

    python benchmarks/preparation.py --fit 640 640 --size 720 1280 1080 1920
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from reporting import describe_machine, markdown_table, median_seconds

from mobileinst_core.arguments import whole_number
from mobileinst_core.command import command
from mobileinst_core.files import write_json
from mobileinst_core.video.preparation import FramePreparation, pad_image, size_to_fit


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add, side = parser.add_argument, whole_number(1)
    add("--size", nargs="+", type=side, metavar="H W", default=(480, 640, 720, 1280, 1080, 1920))
    add("--fit", nargs=2, type=side, metavar=("H", "W"), default=(640, 640), help="network's input")
    add("--repeats", type=side, default=50, metavar="N", help="frames of each size, default 50")
    add("--json", type=Path, metavar="FILE", help="also write the numbers")
    args = parser.parse_args(argv)
    if len(args.size) % 2:
        parser.error(f"--size takes pairs of height and width, got {len(args.size)} numbers")
    return args


def measure(size: tuple[int, int], fit: tuple[int, int], repeats: int) -> dict[str, float]:
    """Prepare noise of one size.

    Args:
        size: (H, W) of frames.
        fit: (H, W) of the network's input.
        repeats: frames to count.

    Returns:
        Median CPU ``seconds`` of preparing a frame, ``pillow_seconds`` of the same by Pillow,
        ``pad_seconds`` of the copy into the network's input, and ``different`` bytes.
    """
    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    prepare = FramePreparation(fixed_size=fit)
    height, width = size_to_fit(size, fit)

    def by_pillow() -> np.ndarray:
        image = frame
        if size != (height, width):
            image = Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR)
        return np.ascontiguousarray(np.asarray(image)[:, :, ::-1].transpose(2, 0, 1))

    image = prepare(frame)
    calls = {
        "seconds": lambda: prepare(frame),
        "pillow_seconds": by_pillow,
        "pad_seconds": lambda: pad_image(image, fit, (0.0, 0.0, 0.0)),
    }
    seconds = median_seconds(calls, repeats)
    return {**seconds, "different": int(np.count_nonzero(image != by_pillow()))}


@command
def main(argv: Sequence[str] | None = None) -> None:
    """Measure and print.

    Args:
        argv: arguments after the program's name; by default those of the process.
    """
    args = parse_args(argv)
    cv2.setNumThreads(1)
    fit = tuple(args.fit)
    print(f"Frames to fit {fit[0]}x{fit[1]}; {describe_machine()}\n")
    numbers, rows = [], []
    for size in zip(args.size[::2], args.size[1::2], strict=True):
        found = measure(size, fit, args.repeats)
        numbers.append({"size": size, **found})
        milliseconds = [f"{1000 * x:.2f}" for x in list(found.values())[:3]]
        ratio = f"{found['seconds'] / found['pillow_seconds']:.2f}"
        rows.append((f"{size[0]}x{size[1]}", *milliseconds, ratio, str(found["different"])))
    headers = ("frame", "ms", "Pillow ms", "into the input ms", "ratio", "different bytes")
    print(markdown_table(headers, rows))
    if args.json:
        write_json(args.json, {"machine": describe_machine(), "fit": fit, "frames": numbers})


if __name__ == "__main__":
    sys.exit(main())
